// A mutating webhook of the usual kind, on controller-runtime: it decodes the pod, gives it a sidecar,
// a preStop hook and a grace period, and answers with the patch between the two. The benchmark runs it
// beside drainhook, which is what it is here for; it decides much less.
package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

type injector struct{ decoder admission.Decoder }

func (i *injector) Handle(_ context.Context, request admission.Request) admission.Response {
	pod := &corev1.Pod{}
	if err := i.decoder.Decode(request, pod); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if pod.Annotations["drainhook.io/inject"] != "true" {
		return admission.Allowed("not opted in")
	}
	always, grace := corev1.ContainerRestartPolicyAlways, int64(305)
	get := func(path string) *corev1.HTTPGetAction {
		return &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(8090)}
	}
	pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{
		Name:          "shutdown-manager",
		Image:         "ghcr.io/drainhook/shutdown-manager:v0.1.0",
		RestartPolicy: &always,
		Env: []corev1.EnvVar{
			{Name: "SHUTDOWN_MANAGER_ADMIN", Value: "127.0.0.1:9901"},
			{Name: "SHUTDOWN_MANAGER_PORT", Value: "8090"},
			{Name: "SHUTDOWN_MANAGER_DRAIN_TIMEOUT", Value: "300s"},
		},
		LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: get("/healthz")}},
	})
	pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{
		PreStop: &corev1.LifecycleHandler{HTTPGet: get("/shutdown")},
	}
	pod.Spec.TerminationGracePeriodSeconds = &grace
	pod.Annotations["drainhook.io/status"] = "{}"
	patched, err := json.Marshal(pod)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(request.Object.Raw, patched)
}

// Its arguments are the directory with tls.crt and tls.key, the address and the port.
func main() {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		panic(err)
	}
	server := webhook.NewServer(webhook.Options{CertDir: os.Args[1], Host: os.Args[2], Port: port(os.Args[3])})
	handler := &injector{decoder: admission.NewDecoder(scheme)}
	server.Register("/mutate", &webhook.Admission{Handler: handler})
	if err := server.Start(ctrl.SetupSignalHandler()); err != nil {
		panic(err)
	}
}

func port(text string) int {
	return int(intstr.Parse(text).IntVal)
}
