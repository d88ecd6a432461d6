package e2e

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

const monitoring = "../../docs/monitoring/"

func promtool(t *testing.T) string { return find(t, "PROMTOOL", "promtool", "prometheus") }

// The alert rules can be read, and are raised where their cases say so.
func TestAlertRules(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.Command(promtool(t), args...)
		cmd.Dir = monitoring
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "SUCCESS")
	}
}
