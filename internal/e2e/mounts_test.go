package e2e

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// The server is a route of gin, chi and echo, whose tests are a module of their
// own, for the sake of what they need.
func TestRouters(t *testing.T) {
	cmd := exec.Command("go", "test", "-count=1", "./...")
	cmd.Dir = "mounts"
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	require.NoError(t, err)
}
