// Command yaml2json reads YAML documents from files and prints the JSON that Kubernetes' own
// reader makes of each, one per line. The tests compare drainhook's reading with it.
package main

import (
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

func main() {
	for _, name := range os.Args[1:] {
		text, err := os.ReadFile(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		json, err := yaml.YAMLToJSON(text)
		if err != nil {
			fmt.Printf("error: %q\n", err.Error())
			continue
		}
		fmt.Println(string(json))
	}
}
