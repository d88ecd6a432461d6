package usage

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A group is a process and its children, of which none is forgotten.
func TestGroup(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sleep 60 & echo ready; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	}()
	_, err = out.Read(make([]byte, 5))
	require.NoError(t, err)

	require.Eventually(t, func() bool { // the child may have been forked and have no memory yet
		group, err := OfGroup(cmd.Process.Pid)
		require.NoError(t, err)
		alone, err := Of(cmd.Process.Pid)
		require.NoError(t, err)
		return group.RSS > alone.RSS
	}, time.Minute, time.Millisecond, "the child's memory is not in it")

	_, err = OfGroup(1 << 29)
	require.ErrorIs(t, err, os.ErrNotExist)
}
