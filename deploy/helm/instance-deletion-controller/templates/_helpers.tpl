{{/*
Fills in what is absent or null in the values, from files/values.yaml, the copy of values.yaml (`make generate`). Without it,
`crd: null`, or `helm upgrade --reuse-values` from a chart that did not have a value yet, would leave nothing to render. Each
template calls it first: Helm promises no order of templates.
*/}}
{{- define "instance-deletion-controller.defaults" -}}
{{- include "instance-deletion-controller.fill" (dict "values" .Values "defaults" (.Files.Get "files/values.yaml" | fromYaml)) -}}
{{- end -}}

{{/* A map that an object takes as it is stays as it is given, so that a key of it can be taken away. */}}
{{- define "instance-deletion-controller.fill" -}}
{{- $whole := list "podSecurityContext" "securityContext" "resources" "labels" "guards" -}}
{{- $values := .values -}}
{{- range $key, $default := .defaults -}}
{{- $value := index $values $key -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := set $values $key $default -}}
{{- else if and (kindIs "map" $value) (kindIs "map" $default) (not (has $key $whole)) -}}
{{- include "instance-deletion-controller.fill" (dict "values" $value "defaults" $default) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "instance-deletion-controller.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}

{{- define "instance-deletion-controller.fullname" -}}
{{- $name := include "instance-deletion-controller.name" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "instance-deletion-controller.account" -}}
{{ .Values.serviceAccount.name | default (include "instance-deletion-controller.fullname" .) }}
{{- end -}}

{{/* Two releases in one namespace differ by the instance. */}}
{{- define "instance-deletion-controller.selector" -}}
app.kubernetes.io/name: {{ include "instance-deletion-controller.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The labels of each object, with further ones in `more`. */}}
{{- define "instance-deletion-controller.labels" -}}
{{- $root := .root -}}
{{- $own := include "instance-deletion-controller.selector" $root | fromYaml -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_") -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "instance-deletion" -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $_ := set $own "app.kubernetes.io/version" $root.Chart.AppVersion -}}
{{- merge $own (.more | default dict) $root.Values.commonLabels | toYaml -}}
{{- end -}}

{{/*
"true" if the guards of the values can be created. Helm refuses an object whose kind the cluster does not serve when the call
begins, also if the same call brings the definition. Without crd.install the definitions are there already.
*/}}
{{- define "instance-deletion-controller.guardable" -}}
{{ or (not .Values.crd.install) (.Capabilities.APIVersions.Has "clouddc.dev/v1alpha1/DeletionGuard") }}
{{- end -}}

{{/* The objects of a file, with the labels of each object. */}}
{{- define "instance-deletion-controller.file" -}}
{{- $root := .root -}}
{{- range splitList "\n---\n" ($root.Files.Get .file) }}
{{- $object := fromYaml . }}
{{- $labels := include "instance-deletion-controller.labels" (dict "root" $root "more" $object.metadata.labels) | fromYaml }}
{{- $_ := set $object.metadata "labels" $labels }}
---
{{ toYaml $object }}
{{- end }}
{{- end -}}

{{- define "instance-deletion-controller.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Of flags.listen, port 8080 by default. */}}
{{- define "instance-deletion-controller.port" -}}
{{ regexFind "[0-9]+$" (.Values.flags.listen | default "8080") }}
{{- end -}}

{{/* Of flags.healthListen, port 8081 by default. */}}
{{- define "instance-deletion-controller.healthPort" -}}
{{ regexFind "[0-9]+$" (.Values.flags.healthListen | default "8081") }}
{{- end -}}

{{/* A flag for each value. allow-insecure-endpoint is the one that takes none. */}}
{{- define "instance-deletion-controller.flags" -}}
{{- range $key, $value := .Values.flags }}
{{- $flag := printf "--%s" (kebabcase $key) }}
{{- if kindIs "invalid" $value }}
{{- else if eq $key "allowInsecureEndpoint" }}
{{- if $value }}
- {{ $flag }}
{{- end }}
{{- else if kindIs "map" $value }}
{{- range $region, $url := $value }}
- {{ printf "%s=%s=%s" $flag $region $url | quote }}
{{- end }}
{{- else if kindIs "slice" $value }}
{{- range $value }}
- {{ printf "%s=%v" $flag . | quote }}
{{- end }}
{{- else }}
- {{ printf "%s=%v" $flag $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where the Pods run and as whom: of the controller and of the test. */}}
{{- define "instance-deletion-controller.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
affinity: {{- include "instance-deletion-controller.affinity" . | nindent 2 }}
{{- end -}}

{{- define "instance-deletion-controller.affinity" -}}
{{- $affinity := deepCopy .Values.affinity -}}
{{- with .Values.image.architectures }}
{{- $os := dict "key" "kubernetes.io/os" "operator" "In" "values" (list "linux") }}
{{- $arch := dict "key" "kubernetes.io/arch" "operator" "In" "values" . }}
{{- $terms := list (dict "matchExpressions" (list $os $arch)) }}
{{- $required := dict "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms) }}
{{- $affinity = merge $affinity (dict "nodeAffinity" $required) }}
{{- end }}
{{- $selector := include "instance-deletion-controller.selector" . | fromYaml }}
{{- $apart := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" $selector) }}
{{- $preferred := list (dict "weight" 100 "podAffinityTerm" $apart) }}
{{- if not (hasKey $affinity "podAntiAffinity") }}
{{- $_ := set $affinity "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" $preferred) }}
{{- end }}
{{- toYaml $affinity }}
{{- end -}}
