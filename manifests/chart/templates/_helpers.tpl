{{- define "drainhook.name" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "drainhook.labels" -}}
app.kubernetes.io/name: drainhook
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: drainhook
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Selectors never change: a Deployment's cannot. */}}
{{- define "drainhook.serverSelector" -}}
app.kubernetes.io/name: drainhook
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end }}

{{- define "drainhook.publisherSelector" -}}
app.kubernetes.io/name: drainhook
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: certs
{{- end }}

{{- define "drainhook.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default (printf "v%s" $.Chart.AppVersion) .tag }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "drainhook.secret" -}}
{{- $suffix := ternary "ca" "tls" (eq .Values.certificates.mode "self") -}}
{{- default (printf "%s-%s" (include "drainhook.name" .) $suffix) .Values.certificates.secretName -}}
{{- end }}

{{- define "drainhook.serverAccount" -}}
{{- default (include "drainhook.name" .) .Values.serviceAccounts.server.name -}}
{{- end }}

{{- define "drainhook.publisherAccount" -}}
{{- default (printf "%s-certs" (include "drainhook.name" .)) .Values.serviceAccounts.publisher.name -}}
{{- end }}

{{/* What Pod Security "restricted" asks of a container, and a read-only root besides. */}}
{{- define "drainhook.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
{{- end }}

{{/* The user is the image's own (65532), so that OpenShift may choose another. */}}
{{- define "drainhook.podSecurity" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Which namespaces, for the entry of pods that opt in themselves. */}}
{{- define "drainhook.namespaces" -}}
- key: kubernetes.io/metadata.name
  operator: NotIn
  values: [{{ .Release.Namespace }}]
{{- with .Values.webhook.namespaceSelector }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* And for the entry of namespaces that opt all of their pods in. */}}
{{- define "drainhook.optedInNamespaces" -}}
{{ include "drainhook.namespaces" . }}
- key: drainhook.io/inject
  operator: In
  values: [enabled, "true"]
{{- end }}

{{/* Publisher and server must mean the same. */}}
{{- define "drainhook.lifetimes" -}}
{{- range $name, $duration := .Values.certificates.lifetimes }}
- --{{ $name }}={{ $duration }}
{{- end }}
{{- end }}

{{- define "drainhook.service" -}}
name: {{ include "drainhook.name" . }}
namespace: {{ .Release.Namespace }}
port: 443
{{- end }}

{{- define "drainhook.webhookAnnotations" -}}
{{- if eq .Values.certificates.mode "cert-manager" }}
cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/{{ include "drainhook.name" . }}
{{- end }}
{{- with .Values.webhook.annotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
CEL. A pod opts in by any key of ours: one that is misspelt, or inject with the value "True", is to be
told and not to be passed over.
*/}}
{{- define "drainhook.cel.optedIn" -}}
has({{ . }}.metadata) && has({{ . }}.metadata.annotations) &&
{{ . }}.metadata.annotations.exists(key, key.startsWith("drainhook.io/")) &&
!("drainhook.io/inject" in {{ . }}.metadata.annotations && {{ . }}.metadata.annotations["drainhook.io/inject"] == "false")
{{- end }}

{{/* Its namespace did, and it says nothing itself: where it does, the other entry hears of it. */}}
{{- define "drainhook.cel.silent" -}}
!has({{ . }}.metadata) || !has({{ . }}.metadata.annotations) ||
!("drainhook.io/inject" in {{ . }}.metadata.annotations)
{{- end }}

{{- define "drainhook.cel.notMirror" -}}
!has(object.metadata.annotations) || !("kubernetes.io/config.mirror" in object.metadata.annotations)
{{- end }}

{{- define "drainhook.cel.template" -}}
(request.kind.kind == "CronJob" ? {{ . }}.spec.jobTemplate.spec.template : {{ . }}.spec.template)
{{- end }}

{{- define "drainhook.cel.notOwned" -}}
!has(object.metadata.ownerReferences) ||
!object.metadata.ownerReferences.exists(owner, has(owner.controller) && owner.controller)
{{- end }}

{{/*
A workload concerns us by any key of ours, also where it has no effect (on the workload itself, or as
a label of the pod): that is what its author is to be told.
*/}}
{{- define "drainhook.cel.workloadOptedIn" -}}
{{- $template := include "drainhook.cel.template" "object" -}}
(has({{ $template }}.metadata) && (
(has({{ $template }}.metadata.annotations) && {{ $template }}.metadata.annotations.exists(key, key.startsWith("drainhook.io/"))) ||
(has({{ $template }}.metadata.labels) && "drainhook.io/inject" in {{ $template }}.metadata.labels))) ||
(has(object.metadata.annotations) && object.metadata.annotations.exists(key, key.startsWith("drainhook.io/")))
{{- end }}

{{- define "drainhook.cel.workloadSilent" -}}
{{ include "drainhook.cel.silent" (include "drainhook.cel.template" "object") }}
{{- end }}

{{/* Also where a key of ours is new on the workload itself, where it has no effect. */}}
{{- define "drainhook.cel.changed" -}}
request.operation == "CREATE" ||
{{ include "drainhook.cel.template" "object" }} != {{ include "drainhook.cel.template" "oldObject" }} ||
(has(object.metadata.annotations) && object.metadata.annotations.exists(key, key.startsWith("drainhook.io/") &&
!(has(oldObject.metadata.annotations) && key in oldObject.metadata.annotations)))
{{- end }}
