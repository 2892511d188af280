//go:build tools

// Package tools names the program that `go build` makes here.
package tools

import _ "github.com/projectcontour/contour/cmd/contour"
