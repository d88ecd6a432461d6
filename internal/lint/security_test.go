package lint

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// The tests that docs/security.md names exist.
func TestSecurityPage(t *testing.T) {
	atRoot(t)
	page, err := os.ReadFile("docs/security.md")
	require.NoError(t, err)
	tests := readNumberedTests(t)
	named := quoted.FindAllStringSubmatch(string(page), -1)
	require.NotEmpty(t, named)
	for _, name := range named {
		require.Contains(t, tests, name[1], "docs/security.md names a test that does not exist")
	}
}
