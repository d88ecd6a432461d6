//go:build linux

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Files and signals that come in a storm while clients come and go leave nothing behind:
// at the end the last file holds, each limit by address is free to the last place, and
// goroutines and descriptors are as many as before.
func TestReloadStorm(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "turbine.yaml")
	put := func(text string) {
		require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
		require.NoError(t, os.Rename(path+".new", path))
	}
	const base = "addr: 127.0.0.1:0\nops-addr: 127.0.0.1:0\ndrain-timeout: 200ms\n"
	files := []string{
		base + "exempt: [192.0.2.0/24]\nmax-conns-per-ip: 20\nmax-sessions-per-ip: 2\nconn-rate: 100000\nhandshake-rate: 100000\n",
		base + "exempt: [192.0.2.0/24]\nmax-conns-per-ip: 1\nmax-sessions-per-ip: -1\nconn-rate: -1\nhandshake-rate: -1\n",
		base + "exempt: [192.0.2.0/24]\nmax-conns-per-ip: -1\nmax-sessions: 3\nmax-conns: 30\n",
		base + "trusted-proxy: [127.0.0.1/32]\nclient-header: x-real-ip\norigin: https://a.example\n",
		base + "max-conns-per-ip: many\n",
		base + "\xff: [",
	}
	put(base)
	cmd := command(context.Background(), t, "--config", path)
	for i, v := range cmd.Env {
		if v == noOperations {
			cmd.Env[i] = "X=" // the file says where they are
		}
	}
	s := start(t, cmd)
	ops := newOpsClient(t, "http://"+s.opsAddr(t), nil)
	before := s.load(ops)

	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					s.visit(i%2 == 0)
				}
			}
		})
	}
	reads := func() int {
		log := s.stderr.String()
		return strings.Count(log, `msg="configuration read`) + strings.Count(log, "the old one stays in use")
	}
	for i, text := range files {
		seen := reads()
		for range 30 { // in its place and in two parts, or at once
			if i%2 == 0 {
				require.NoError(t, os.WriteFile(path, []byte(text[:len(text)/2]), 0o600))
				require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			} else {
				put(text)
			}
			require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
		}
		s.logs(t, func() bool { return reads() > seen })
	}
	const places = 5
	last := base + fmt.Sprintf("exempt: [192.0.2.0/24]\nmax-conns-per-ip: %d\nconn-rate: -1\norigin: https://last.example\n", places)
	put(last)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	s.logs(t, func() bool {
		return strings.Contains(s.stderr.String(), `msg="configuration read"`) && s.knocks("https://last.example") == 200
	})
	close(stop)
	clients.Wait()

	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if after := s.load(ops); after.goroutines <= before.goroutines+3 && after.descriptors <= before.descriptors+3 {
			break
		}
		require.True(t, time.Now().Before(end), "before %+v, after %+v", before, s.load(ops))
	}
	for i := range places + 1 {
		c, err := net.Dial("tcp", s.addr)
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
		_, _ = io.WriteString(c, "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
		n, err := c.Read(make([]byte, 1<<10))
		if i < places {
			require.NoError(t, err, "place %d of %d", i+1, places)
			require.Positive(t, n)
		} else {
			require.Error(t, err, "there is no place more")
		}
	}
}

// visit connects, asks for a session on wish, and leaves. Whatever becomes of it is right.
func (s *server) visit(asks bool) {
	c, err := net.DialTimeout("tcp", s.addr, patience)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if asks {
		_, _ = io.WriteString(c, "GET "+s.path+"?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nX-Real-IP: 198.51.100.7\r\nUpgrade: websocket\r\n"+
			"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		_, _ = c.Read(make([]byte, 1<<10))
	}
}

// knocks is knock for somebody who may be turned away: 0.
func (s *server) knocks(origin string) (status int) {
	c, err := net.DialTimeout("tcp", s.addr, patience)
	if err != nil {
		return 0
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, "GET "+s.path+"?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\nOrigin: "+origin+"\r\n\r\n")
	answer := make([]byte, 1<<10)
	n, _ := c.Read(answer)
	_, _ = fmt.Sscanf(string(answer[:n]), "HTTP/1.1 %d", &status)
	return status
}
