package loop

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOpenDescriptorsCountsThoseOfTheProcess(t *testing.T) {
	before, ok := OpenDescriptors()
	if !ok {
		t.Skip("this system does not say")
	}
	const more = 20
	for range more {
		f, err := os.Open(os.DevNull)
		require.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() })
	}
	after, ok := OpenDescriptors()
	require.True(t, ok)
	require.Equal(t, before+more, after)
	limit, err := DescriptorLimit()
	require.NoError(t, err)
	require.LessOrEqual(t, uint64(after), limit)
}
