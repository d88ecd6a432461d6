package lint

import (
	"os"
	"testing"
)

// The tests run in the root of the repository: their paths are given from there.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
