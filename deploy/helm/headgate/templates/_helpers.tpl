{{- define "headgate.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "headgate.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "headgate.labels" -}}
{{ include "headgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "headgate.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "headgate.fullname" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{/* What every container has: the image, its environment, and nothing that it may write but two volumes. */}}
{{- define "headgate.container" -}}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
env:
  - { name: ALLOWED_HOSTS, value: {{ .Values.host | quote }} }
  - { name: PUBLIC_URL, value: {{ .Values.publicUrl | default (printf "https://%s" .Values.host) | quote }} }
  - { name: SECRET_KEY_FILE, value: /run/secrets/headgate/secret_key }
  - { name: AUDIT_KEYS_FILE, value: /run/secrets/headgate/audit_keys }
  - { name: ENCRYPTION_KEYS_FILE, value: /run/secrets/headgate/encryption_keys }
  - { name: DATABASE_URL_FILE, value: /run/secrets/headgate/database_url }
  - { name: DATABASE_CONNECTIONS, value: {{ .Values.web.connections | quote }} }
  - { name: CELERY_BROKER_URL, value: {{ .Values.brokerUrl | quote }} }
  - { name: DELTA_DATA_ROOT, value: {{ .Values.data.root | quote }} }
  - { name: TRUSTED_PROXIES, value: {{ .Values.trustedProxies | quote }} }
  {{- range $name, $value := .Values.environment }}
  - { name: {{ $name }}, value: {{ $value | quote }} }
  {{- end }}
{{- with .Values.environmentFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - { name: secrets, mountPath: /run/secrets/headgate, readOnly: true }
  - { name: temporary, mountPath: /tmp }
  - { name: cache, mountPath: /var/cache/headgate }
  {{- if .Values.data.persistence.enabled }}
  - { name: data, mountPath: {{ .Values.data.root }} }
  {{- end }}
{{- end }}

{{- define "headgate.pod" -}}
serviceAccountName: {{ include "headgate.serviceAccount" . }}
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
volumes:
  - name: secrets
    secret: { secretName: {{ .Values.existingSecret | quote }}, defaultMode: 0440 }
  - name: temporary
    emptyDir: { sizeLimit: {{ .Values.temporary.sizeLimit }} }
  - name: cache
    emptyDir: { sizeLimit: {{ .Values.cache.sizeLimit }} }
  {{- if .Values.data.persistence.enabled }}
  - name: data
    persistentVolumeClaim: { claimName: {{ .Values.data.persistence.existingClaim | default (include "headgate.fullname" .) }} }
  {{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
