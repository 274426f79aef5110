{{/*
The pod of a part: (dict "root" $ "component" NAME "args" […] "resources" {…}). An ingress has its spool's volume.
*/}}
{{- define "postern.pod" -}}
{{- $root := .root -}}
{{- $ingress := eq .component "ingress" -}}
metadata:
  labels:
    {{- include "postern.labels" . | nindent 4 }}
    {{- with $root.Values.pods.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ $root.Values.config | sha256sum }}
    checksum/secrets: {{ $root.Values.secrets.values | toJson | sha256sum }}
    {{- with $root.Values.pods.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "postern.serviceAccount" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  # During a drain, sends in flight finish and are reported before the process ends.
  terminationGracePeriodSeconds: {{ $root.Values.pods.terminationGracePeriodSeconds }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: { type: RuntimeDefault }
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.pods.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $root.Values.pods.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.pods.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.pods.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- with $root.Values.pods.topologySpreadConstraints }}
    {{- toYaml . | nindent 4 }}
    {{- else }}
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "postern.selector" . | nindent 10 }}
    {{- end }}
  containers:
    - name: postern
      image: {{ include "postern.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: {{ toJson .args }}
      env:
        - { name: POSTERN_CONFIG, value: /etc/postern/postern.toml }
        - { name: POSTERN__BROKER__URL, value: '{ file = "/run/secrets/postern/broker-url" }' }
        - { name: POSTERN__ADMIN__LISTEN, value: "0.0.0.0:8081" }
        - { name: POSTERN__ADMIN__TOKEN, value: '{ file = "/run/secrets/postern/admin-token" }' }
        - { name: POSTERN__INGRESS__LISTEN, value: "0.0.0.0:8080" }
        {{- with $root.Values.pods.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        {{- if $ingress }}
        - { name: http, containerPort: 8080 }
        {{- end }}
        - { name: admin, containerPort: 8081 }
      {{- if $ingress }}
      # It accepts requests until its address is removed everywhere.
      lifecycle:
        preStop:
          sleep: { seconds: 5 }
      {{- end }}
      startupProbe:
        httpGet: { path: /livez, port: admin }
        periodSeconds: 1
        failureThreshold: 60
      livenessProbe:
        httpGet: { path: /livez, port: admin }
        periodSeconds: 10
        timeoutSeconds: 5
      readinessProbe:
        httpGet: { path: /readyz, port: admin }
        periodSeconds: 5
        timeoutSeconds: 5
      resources:
        {{- toYaml .resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
      volumeMounts:
        - { name: config, mountPath: /etc/postern, readOnly: true }
        - { name: secrets, mountPath: /run/secrets/postern, readOnly: true }
        - { name: tmp, mountPath: /tmp }
        {{- if $ingress }}
        - { name: spool, mountPath: /var/lib/postern }
        {{- end }}
        {{- with $root.Values.pods.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap: { name: {{ include "postern.fullname" $root }} }
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          - secret: { name: {{ include "postern.secret" $root }} }
          {{- range $root.Values.secrets.more }}
          - secret: { name: {{ . }} }
          {{- end }}
    - name: tmp
      emptyDir: { sizeLimit: 64Mi }
    {{- with $root.Values.pods.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
