// The projects that define the kinds of which the chart makes objects, where its values say so. Their Go
// modules hold the definitions as they are released; no code of them is built.
module github.com/drainhook/drainhook/tests/cluster/crds

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.19.1
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
