//go:build tools

// Package registry names the program that build.sh builds from this module.
package registry

import _ "github.com/google/go-containerregistry/cmd/crane"
