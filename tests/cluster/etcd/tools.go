//go:build tools

// Package tools names the program that `go build` makes here.
package tools

import _ "go.etcd.io/etcd/server/v3"
