package main

import (
	"context"
	"errors"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
)

// runLua runs a script as util/lua of Argo CD 3.6 does, and returns the table it answers with as JSON: the object is the
// global `obj`; the libraries are package, base and table; it has a second. Argo CD adds os.time and os.date, which the
// scripts here do without: an object alone decides.
func runLua(object *unstructured.Unstructured, script string) ([]byte, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.LoadLibName, lua.OpenPackage},
		{lua.BaseLibName, lua.OpenBase},
		{lua.TabLibName, lua.OpenTable},
	} {
		open := lua.P{Fn: state.NewFunction(library.open), Protect: true}
		if err := state.CallByParam(open, lua.LString(library.name)); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(ctx)
	state.SetGlobal("actionParams", state.NewTable())
	state.SetGlobal("obj", toLua(state, object.Object))
	if err := state.DoString(script); err != nil {
		return nil, err
	}
	answer := state.Get(-1)
	if answer.Type() != lua.LTTable {
		return nil, errors.New("the script returns no table")
	}
	return luajson.Encode(answer)
}

// toLua leaves out null, as Argo CD's conversion does.
func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case string:
		return lua.LString(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case []any:
		list := state.CreateTable(len(value), 0)
		for _, item := range value {
			list.Append(toLua(state, item))
		}
		return list
	case map[string]any:
		table := state.CreateTable(0, len(value))
		for key, item := range value {
			table.RawSetString(key, toLua(state, item))
		}
		return table
	}
	return lua.LNil
}

// restoreMaps undoes, as Argo CD does, what a way through Lua does to empty maps: Lua has one kind of table, and an empty
// one becomes a list.
func restoreMaps(after, before map[string]any) map[string]any {
	for key, value := range after {
		after[key] = restore(value, before[key])
	}
	return after
}

func restore(after, before any) any {
	switch before := before.(type) {
	case map[string]any:
		switch after := after.(type) {
		case map[string]any:
			return restoreMaps(after, before)
		case []any:
			if len(after) == 0 {
				return map[string]any{}
			}
		}
	case []any:
		if after, ok := after.([]any); ok {
			for i := range min(len(after), len(before)) {
				after[i] = restore(after[i], before[i])
			}
		}
	}
	return after
}
