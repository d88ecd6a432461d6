package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"turbine/bench/load"
	"turbine/internal/race"

	"github.com/stretchr/testify/require"
)

var every = flag.Bool("peers", false, "install and try every peer, not only those in Go that are quick to build")

// Each peer echoes and broadcasts, by the load generator's own judgement.
func TestPeersServe(t *testing.T) {
	if testing.Short() {
		t.Skip("builds servers")
	}
	if _, err := exec.LookPath("taskset"); err != nil {
		t.Skip("no taskset")
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	for _, p := range append(All(root), Mounts(root)...) {
		if !*every && p.Name != "turbine" && p.Name != "gnet" && !p.Mount {
			continue
		}
		if race.Enabled && p.Name != "turbine" { // the detector sees the load generator, and no server
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			version, err := p.Install(t.Context(), io.Discard)
			require.NoError(t, err)
			t.Log(version)
			for _, plan := range []load.Plan{
				{Kind: load.Echo, Sessions: 5, InFlight: 2, Size: 200},
				{Kind: load.Echo, Sessions: 5, InFlight: 2, Size: 200, Binary: true},
				{Kind: load.Echo, Sessions: 5, InFlight: 2, Size: 200, TLS: &tls.Config{}}, // the peer's, below
				{Kind: load.Broadcast, Sessions: 20, Size: 100},
				{Kind: load.UpgradeDance, InFlight: 10, Size: 50},
				{Kind: load.PollCycle, Sessions: 5, Size: 100},
				// Several heartbeats: on a busy machine one may come late.
				{Kind: load.Idle, Sessions: 20, Via: load.Upgraded, Duration: 3 * time.Second},
				{Kind: load.Heartbeats, Sessions: 5, InFlight: 1, Size: 100, Watched: 20, Duration: 3 * time.Second, PingInterval: time.Second, PingTimeout: 2 * time.Second},
				{Kind: load.Updates, Sessions: 20, ReadRate: 100_000},
			} {
				if plan.Kind == load.Updates && p.Name != "turbine" {
					continue
				}
				if p.Dialect == load.Raw && (plan.Kind == load.UpgradeDance || plan.Kind == load.PollCycle || plan.Kind == load.Idle || plan.Kind == load.Heartbeats) {
					continue
				}
				if plan.TLS != nil && p.Secure == "" {
					continue
				}
				app := Echo
				if plan.Kind == load.Broadcast && p.Mount {
					continue
				}
				if plan.Kind == load.Broadcast {
					app = Broadcast
				}
				settings := Settings{App: app, PingInterval: time.Second, PingTimeout: 2 * time.Second, TLS: plan.TLS != nil}
				if plan.Kind == load.Heartbeats && !p.Mount {
					settings.Work = 20 * time.Millisecond
				}
				if plan.Kind == load.Updates {
					settings.Updates = Updates{PerSecond: 1000, Keys: 10, Watched: 2, Keyed: true, Unsent: 4096}
				}
				s, err := p.Start(t.Context(), settings)
				require.NoError(t, err)
				plan.Addr, plan.Path, plan.Dialect = s.Addr, p.Path, p.Dialect
				plan.Duration, plan.Server = max(plan.Duration, time.Second), s.Usage
				plan.TLS, err = p.Client(settings)
				require.NoError(t, err)
				o, err := load.Run(t.Context(), plan)
				require.NoError(t, err)
				require.Positive(t, o.Operations, "%+v: %v", plan.Kind, o.Faults)
				if settings.Work > 0 { // on one core
					require.LessOrEqual(t, o.Operations, int64(o.Elapsed/settings.Work)+1)
				}
				if o.Wrong > 0 || o.Lost > 0 {
					// Others have faults of their own, which the report shows.
					t.Logf("kind %v: wrong %d, lost %d, %v", plan.Kind, o.Wrong, o.Lost, o.Faults)
					require.False(t, p.Mount || p.Name == "turbine")
				}
				u, err := s.Usage()
				require.NoError(t, err)
				require.Positive(t, u.RSS)
				require.NoError(t, s.Stop())
			}
		})
	}
}

// A shell script in place of a server. It has the port as $1.
func fake(script string) *Peer {
	return &Peer{Name: "fake", command: func(int, Settings) ([]string, []string) {
		return []string{"sh", "-c", script}, nil
	}}
}

func TestStartTellsWhyAServerEnded(t *testing.T) {
	_, err := fake("echo the reason >&2; exit 3").Start(t.Context(), Settings{Core: -1})
	require.ErrorIs(t, err, ErrExited)
	require.ErrorContains(t, err, "the reason")
}

func TestWorkers(t *testing.T) {
	for _, c := range []struct {
		name string
		s    Settings
		want []string
	}{
		{"left alone", Settings{Core: -1, Cores: 2}, nil},
		{"a core", Settings{}, []string{"GOMAXPROCS=1", "TOKIO_WORKER_THREADS=1", "WORKERS=1"}},
		{"two cores", Settings{Cores: 2}, []string{"GOMAXPROCS=2", "TOKIO_WORKER_THREADS=2", "WORKERS=2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all, base := setting(1, c.s), setting(1, Settings{Core: -1})
			require.Equal(t, base, all[:len(base)])
			require.ElementsMatch(t, c.want, all[len(base):])
			ours, _ := workshop{}.turbineCommand(1, c.s)
			require.Equal(t, c.want != nil, slices.Contains(ours, "--loops"))
		})
	}
}

func TestWhereCargoHasPutTheSources(t *testing.T) {
	dir, err := sourceOf(`{"packages": [{"name": "uws", "manifest_path": "/a/Cargo.toml"}, {"name": "libuwebsockets-sys", "manifest_path": "/b/c/Cargo.toml"}]}`)
	require.NoError(t, err)
	require.Equal(t, "/b/c", dir)
	_, err = sourceOf(`{"packages": []}`)
	require.ErrorContains(t, err, "no libuwebsockets-sys")
	_, err = sourceOf("error: no such command")
	require.ErrorContains(t, err, "cargo metadata")
}

func TestStartEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := fake("sleep 60").Start(ctx, Settings{Core: -1})
	require.ErrorIs(t, err, context.Canceled)
}

func TestInstallOnce(t *testing.T) {
	source, cache := t.TempDir(), t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(source, "p"), 0o755))
	file := filepath.Join(source, "p", "server")
	w := workshop{source: source, cache: cache}
	installs := 0
	prepare := func() {
		_, err := w.prepare("p", func(dir string) error {
			installs++
			_, err := os.Stat(filepath.Join(dir, "server"))
			return err
		})
		require.NoError(t, err)
	}
	require.NoError(t, os.WriteFile(file, []byte("1"), 0o600))
	prepare()
	prepare()
	require.Equal(t, 1, installs)
	require.NoError(t, os.WriteFile(file, []byte("2"), 0o600))
	prepare()
	require.Equal(t, 2, installs, "the sources have changed")
}

func TestRunSaysWhatFailed(t *testing.T) {
	var log bytes.Buffer
	err := run(t.Context(), &log, t.TempDir(), nil, "sh", "-c", "echo no such thing >&2; exit 1")
	require.ErrorContains(t, err, "no such thing")
	require.Contains(t, log.String(), "no such thing")
}

func TestFreePort(t *testing.T) {
	port, err := freePort()
	require.NoError(t, err)
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

// The report says what each peer is told or built with.
func TestEveryPeerHasASetting(t *testing.T) {
	for _, p := range All(t.TempDir()) {
		require.NotEmpty(t, p.Setting, p.Name)
		if _, err := os.Stat(filepath.Join("golang", p.Name)); err == nil || p.Name == "turbine" {
			require.Contains(t, p.Setting, "GOGC", p.Name)
			require.Contains(t, p.Setting, "profile", p.Name)
		}
	}
}

// Ours without the profile is the same program with the same flags.
func TestUnprofiled(t *testing.T) {
	w := workshop{cache: "cache"}
	ours, env := w.turbineCommand(1, Settings{App: Echo})
	other, same := w.unprofiledCommand(1, Settings{App: Echo})
	require.Equal(t, env, same)
	require.Equal(t, ours[1:], other[1:])
	require.Equal(t, []string{filepath.Join("cache", "turbine"), filepath.Join("cache", "turbine-no-profile")}, []string{ours[0], other[0]})
}
