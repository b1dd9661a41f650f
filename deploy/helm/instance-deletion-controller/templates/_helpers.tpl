{{- define "name" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "account" -}}
{{ .Values.serviceAccount.name | default (include "name" .) }}
{{- end -}}

{{/* Two releases in one namespace differ by their name: it is what selects the Pods. */}}
{{- define "selector" -}}
app.kubernetes.io/name: {{ include "name" . }}
{{- end -}}

{{- define "labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Of flags.listen, 0.0.0.0:8080 by default. */}}
{{- define "port" -}}
{{ regexFind "[0-9]+$" (.Values.flags.listen | default "8080") }}
{{- end -}}

{{/* Of flags.healthListen, 0.0.0.0:8081 by default. */}}
{{- define "healthPort" -}}
{{ regexFind "[0-9]+$" (.Values.flags.healthListen | default "8081") }}
{{- end -}}

{{/* A flag for each value. allow-insecure-endpoint is the one that takes none. */}}
{{- define "args" -}}
- run
{{- range $key, $value := .Values.flags }}
{{- $flag := printf "--%s" (kebabcase $key) }}
{{- if eq $key "allowInsecureEndpoint" }}
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
