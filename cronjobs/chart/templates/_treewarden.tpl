{{- /* The config as its text. */}}
{{- define "treewarden.config" -}}
{{- $config := required "config is required: your treewarden.yaml, as a map, or by --set-file config=treewarden.yaml" .Values.config -}}
{{- if kindIs "string" $config }}{{ $config }}{{ else }}{{ toYaml $config }}{{ end }}
{{- end }}

{{- /* The ConfigMap's name has a hash of the content, as kustomize's: a run keeps the config it began with. */}}
{{- define "treewarden.configName" -}}
{{ .Release.Name }}-config-{{ include "treewarden.config" . | sha256sum | trunc 10 }}
{{- end }}

{{- /* Changes the object of a Job or CronJob into the release's own: (list CONTEXT OBJECT JOB-SPEC). */}}
{{- define "treewarden.adapt" -}}
{{- $context := index . 0 }}{{ $object := index . 1 }}{{ $job := index . 2 }}
{{- $values := $context.Values }}
{{- $pod := $job.template.spec }}
{{- $container := index $pod.containers 0 }}
{{- $config := include "treewarden.config" $context | fromYaml }}
{{- $root := (($config.volume).root) | required (printf "config has no volume.root %s" ($config.Error | default "")) }}

{{- $_ := set $object.metadata "name" (regexReplaceAll "^treewarden" $object.metadata.name $context.Release.Name) }}
{{- $_ := mergeOverwrite $pod (deepCopy $values.pod) }}
{{- $_ := mergeOverwrite $container (deepCopy $values.container) }}
{{- $_ := set $container "image" (printf "%s:%s" $values.image.repository ($values.image.tag | default $context.Chart.AppVersion)) }}
{{- $_ := set $container "env" (concat $container.env $values.env) }}
{{- $_ := set $container "volumeMounts" (concat $container.volumeMounts $values.volumeMounts) }}
{{- $_ := set $pod "volumes" (concat $pod.volumes $values.volumes) }}
{{- range $container.env }}
{{-   with ((.valueFrom).secretKeyRef) }}{{ if eq .name "treewarden-alerts" }}{{ $_ := set . "name" $values.alertsSecret }}{{ end }}{{ end }}
{{- end }}
{{- range $container.volumeMounts }}{{ if eq .name "volume" }}{{ $_ := set . "mountPath" $root }}{{ end }}{{ end }}
{{- range $pod.volumes }}
{{-   with .persistentVolumeClaim }}{{ if eq .claimName "agents-volume" }}{{ $_ := set . "claimName" $values.claim }}{{ end }}{{ end }}
{{-   with .configMap }}{{ if eq .name "treewarden-config" }}{{ $_ := set . "name" (include "treewarden.configName" $context) }}{{ end }}{{ end }}
{{- end }}
{{- end }}
