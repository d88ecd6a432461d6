package lint

import "testing"

// atRoot has the test run in the root of the repository, from where its paths are
// given. It is for the test and not for TestMain: the go command notes a change of
// directory during a test only, and would otherwise take a cached result when a
// file has changed.
func atRoot(t *testing.T) {
	t.Helper()
	t.Chdir("../..")
}
