package program

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"turbine/internal/certs"

	"github.com/fsnotify/fsnotify"
	"github.com/stretchr/testify/require"
)

// readings is a server that remembers what the files held when it was asked.
type readings struct {
	files []string

	mu   sync.Mutex
	held []string
	bad  string // what it takes for an error
}

func (r *readings) ReloadTLS() error {
	all := ""
	for _, file := range r.files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		all += string(text)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if all == r.bad {
		return errors.New("bad pair")
	}
	r.held = append(r.held, all)
	return nil
}

func (r *readings) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.held) == 0 {
		return ""
	}
	return r.held[len(r.held)-1]
}

func (r *readings) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.held)
}

func (r *readings) expect(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return r.last() == text }, 20*time.Second, 5*time.Millisecond, "never %q", text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// link makes path a symbolic link to target in one step, as programs do that
// replace what others read.
func link(t *testing.T, target, path string) {
	t.Helper()
	require.NoError(t, os.Symlink(target, path+".new"))
	require.NoError(t, os.Rename(path+".new", path))
}

// However the files change, they are read again, and once only.
func TestCertificatesThatChange(t *testing.T) {
	for _, c := range []struct {
		name   string
		at     string // the file's directory as the server knows it
		before func(t *testing.T, dir string)
		change func(t *testing.T, dir string)
	}{
		{"written", "", nil, func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "cert"), "new ")
			write(t, filepath.Join(dir, "key"), "pair")
		}},
		{"renamed", "", nil, func(t *testing.T, dir string) {
			for name, text := range map[string]string{"cert": "new ", "key": "pair"} {
				write(t, filepath.Join(dir, name+"~"), text)
				require.NoError(t, os.Rename(filepath.Join(dir, name+"~"), filepath.Join(dir, name)))
			}
		}},
		{"removed and made", "", nil, func(t *testing.T, dir string) {
			for name, text := range map[string]string{"cert": "new ", "key": "pair"} {
				require.NoError(t, os.Remove(filepath.Join(dir, name)))
				write(t, filepath.Join(dir, name), text)
			}
		}},
		{"a volume of Kubernetes", "", func(t *testing.T, dir string) {
			require.NoError(t, os.Mkdir(filepath.Join(dir, "..1"), 0o700))
			for name, text := range map[string]string{"cert": "old ", "key": "pair"} {
				require.NoError(t, os.Rename(filepath.Join(dir, name), filepath.Join(dir, "..1", name)))
				write(t, filepath.Join(dir, "..1", name), text)
				link(t, filepath.Join("..data", name), filepath.Join(dir, name))
			}
			link(t, "..1", filepath.Join(dir, "..data"))
		}, func(t *testing.T, dir string) {
			require.NoError(t, os.Mkdir(filepath.Join(dir, "..2"), 0o700))
			write(t, filepath.Join(dir, "..2", "cert"), "new ")
			write(t, filepath.Join(dir, "..2", "key"), "pair")
			link(t, "..2", filepath.Join(dir, "..data"))
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "..1")))
		}},
		{"a directory behind a link", "current", func(t *testing.T, dir string) {
			require.NoError(t, os.Mkdir(filepath.Join(dir, "1"), 0o700))
			write(t, filepath.Join(dir, "1", "cert"), "old ")
			write(t, filepath.Join(dir, "1", "key"), "pair")
			link(t, filepath.Join(dir, "1"), filepath.Join(dir, "current"))
		}, func(t *testing.T, dir string) {
			require.NoError(t, os.Mkdir(filepath.Join(dir, "2"), 0o700))
			write(t, filepath.Join(dir, "2", "cert"), "new ")
			write(t, filepath.Join(dir, "2", "key"), "pair")
			link(t, filepath.Join(dir, "2"), filepath.Join(dir, "current"))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, filepath.Join(dir, "cert"), "old ")
			write(t, filepath.Join(dir, "key"), "pair")
			if c.before != nil {
				c.before(t, dir)
			}
			at := filepath.Join(dir, c.at)
			r := &readings{files: []string{filepath.Join(at, "cert"), filepath.Join(at, "key")}}
			stop := watchFiles(nil, tlsFiles(r, r.files))
			defer stop()
			c.change(t, dir)
			r.expect(t, "new pair")
			write(t, filepath.Join(dir, "something else"), "x") // is no reason to read them
			write(t, filepath.Join(at, "cert"), "newer ")       // where they are now
			r.expect(t, "newer pair")
			require.LessOrEqual(t, r.count(), 4, "once for each change, or for each half of it")
		})
	}
}

// A pair that does not fit is tried once, and the next one when it is there.
// SIGHUP tries in any case.
func TestCertificatesThatAreBad(t *testing.T) {
	dir := t.TempDir()
	r := &readings{files: []string{filepath.Join(dir, "cert"), filepath.Join(dir, "key")}, bad: "half pair"}
	write(t, r.files[0], "old ")
	write(t, r.files[1], "pair")
	set := tlsFiles(r, r.files)
	set.seen = set.sum()
	w := &watch{sets: []*watched{set}}
	tries := func() int {
		before := set.seen
		w.readChanged()
		if set.seen == before {
			return 0
		}
		return 1
	}
	require.Zero(t, tries(), "nothing has changed")
	write(t, r.files[0], "half ")
	require.Equal(t, 1, tries())
	require.Zero(t, tries(), "it is known to be bad")
	require.Zero(t, r.count())
	require.NoError(t, os.Remove(r.files[0]))
	require.Equal(t, 1, tries())
	require.Zero(t, tries(), "it is known to be gone")
	write(t, r.files[0], "good ")
	require.Equal(t, 1, tries())
	require.Equal(t, "good pair", r.last())
	w.readAll()
	require.Equal(t, 2, r.count())

	signals := make(chan os.Signal)
	stop := watchFiles(signals, tlsFiles(r, r.files))
	defer stop()
	signals <- syscall.SIGHUP
	require.Eventually(t, func() bool { return r.count() == 3 }, 20*time.Second, time.Millisecond)
}

// Without files there is nothing to watch, and a signal changes nothing.
func TestNoCertificatesToWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signals := make(chan os.Signal)
		stop := watchFiles(signals, tlsFiles(nil, nil))
		signals <- syscall.SIGHUP
		signals <- syscall.SIGHUP
		stop()
	})
}

// A set that cannot be used keeps a signal from using any. Those that were not used are
// tried again when any file changes.
func TestSetsOfFiles(t *testing.T) {
	dir := t.TempDir()
	var read, inUse []string
	var bad, useless string
	set := func(name string) *watched {
		path := filepath.Join(dir, name)
		write(t, path, "old")
		s := &watched{files: []string{path}, refused: name + " refused", prepare: func() (use, error) {
			read = append(read, name)
			if bad == name {
				return nil, errors.New("bad " + name)
			}
			return func() error {
				if useless == name {
					return errors.New("useless " + name)
				}
				inUse = append(inUse, name)
				return nil
			}, nil
		}}
		s.seen = s.sum()
		return s
	}
	both := []string{"first", "second"}
	w := &watch{sets: []*watched{set("first"), set("second")}}
	for _, c := range []struct {
		name    string
		change  string // the file in which something new is; "" for none
		bad     string
		useless string
		signal  bool
		read    []string
		inUse   []string
		log     string
	}{
		{"nothing", "", "", "", false, nil, nil, ""},
		{"a signal", "", "", "", true, both, both, ""},
		{"one changes", "second", "", "", false, both[1:], both[1:], ""},
		{"the other one changes", "first", "", "", false, both[:1], both[:1], ""},
		{"it is bad", "first", "first", "", false, both[:1], nil, "first refused"},
		{"it is known to be bad", "", "first", "", false, nil, nil, ""},
		{"the second changes, the first is tried again", "second", "first", "", false, both, both[1:], "first refused"},
		{"a signal stops at the first", "", "first", "", true, both[:1], nil, "first refused"},
		{"what it did not read is tried", "first", "", "", false, both, both, ""},
		{"all is read", "", "", "", false, nil, nil, ""},
		{"the second is bad, the first is not used", "second", "second", "", true, both, nil, "second refused"},
		{"both are tried again", "first", "", "", false, both, both, ""},
		{"the first cannot be used, nor is the second", "", "", "first", true, both, nil, "first refused"},
		{"the second alone is tried again, and used", "second", "", "first", false, both, both[1:], "first refused"},
		{"a signal for both", "", "", "", true, both, both, ""},
	} {
		bad, useless, read, inUse = c.bad, c.useless, nil, nil
		if c.change != "" {
			write(t, filepath.Join(dir, c.change), c.name)
		}
		log := logged(t, func() {
			if c.signal {
				w.readAll()
			} else {
				require.Equal(t, len(c.read) > 0, w.readChanged(), c.name)
			}
		})
		require.Equal(t, c.read, read, c.name)
		require.Equal(t, c.inUse, inUse, c.name)
		require.Contains(t, log, c.log, c.name)
		require.Equal(t, c.log == "", log == "", c.name)
	}
}

// A pipe in the place of a file, which nobody writes to, keeps nothing waiting: neither
// the watch nor its end. When a file is there again, it is read.
func TestPipesInPlacesOfFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	write(t, path, "text")
	loads := make(chan struct{}, 1)
	set := &watched{files: []string{path}, refused: "refused", prepare: func() (use, error) {
		text, err := os.ReadFile(path) // as crypto/tls does
		loads <- struct{}{}
		require.Equal(t, "text", string(text))
		return func() error { return nil }, err
	}}
	set.seen = set.sum()
	require.NoError(t, os.Remove(path))
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	w := &watch{sets: []*watched{set}}
	w.readChanged()
	w.readAll()
	require.True(t, set.failed)
	require.Empty(t, loads)
	signals := make(chan os.Signal)
	stop := watchFiles(signals, set)
	signals <- syscall.SIGHUP
	stop()
	require.Empty(t, loads)
	require.NoError(t, os.Remove(path))
	write(t, path, "text")
	w.readChanged()
	require.Len(t, loads, 1)
	require.False(t, set.failed)
}

// A file that is not what it was a moment ago may be half written: it is read when it
// stays as it is, or after a while anyhow.
func TestFilesThatAreBeingWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "a")
	set := &watched{files: []string{path}}
	set.seen = set.sum()
	w := &watch{sets: []*watched{set}}
	require.False(t, w.isChanging(), "it is known")
	write(t, path, "b")
	require.True(t, w.isChanging())
	write(t, path, "bc")
	require.True(t, w.isChanging())
	require.False(t, w.isChanging())
	write(t, path, "")
	require.True(t, w.isChanging())
	write(t, path, "a")
	require.False(t, w.isChanging(), "it is as it was")
	for i := range maxSettles {
		write(t, path, strings.Repeat("d", i+1))
		require.True(t, w.isChanging())
	}
	write(t, path, "e")
	require.False(t, w.isChanging(), "a file that changes all the time")
	write(t, path, "f")
	require.True(t, w.isChanging())
}

// However many signals come and however often a file is written, the files are read once
// a second at most, and after the last of them once more.
func TestStormsOfReasonsToReadFiles(t *testing.T) {
	const seconds = 15
	for _, c := range []struct {
		name  string
		every time.Duration
		cause func(n int, signals chan<- os.Signal, write func(string))
		least int
	}{
		{"signals", time.Millisecond, func(_ int, signals chan<- os.Signal, _ func(string)) {
			select {
			case signals <- syscall.SIGHUP:
			default: // as os/signal does
			}
		}, seconds},
		{"a file that is written all the time", 10 * time.Millisecond, func(n int, _ chan<- os.Signal, write func(string)) {
			write(strings.Repeat("x", n))
		}, 1},
		{"a file that stays for a moment", watchSettle * 5 / 4, func(n int, _ chan<- os.Signal, write func(string)) {
			write(strings.Repeat("x", n))
		}, 1},
		{"both", 10 * time.Millisecond, func(n int, signals chan<- os.Signal, write func(string)) {
			write(strings.Repeat("x", n))
			select {
			case signals <- syscall.SIGHUP:
			default:
			}
		}, seconds},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			synctest.Test(t, func(t *testing.T) {
				var reads []time.Time
				var last string
				set := &watched{files: []string{path}, prepare: func() (use, error) {
					text, err := os.ReadFile(path)
					reads, last = append(reads, time.Now()), string(text)
					return func() error { return nil }, err
				}}
				write(t, path, "")
				set.seen = set.sum()
				w := &watch{sets: []*watched{set}}
				signals, events, done := make(chan os.Signal, 1), make(chan fsnotify.Event), make(chan struct{})
				ended := make(chan struct{})
				go func() { w.run(signals, events, nil, done); close(ended) }()
				n, end := 0, time.Now().Add(seconds*time.Second)
				for time.Now().Before(end) {
					n++
					c.cause(n, signals, func(text string) {
						write(t, path, text)
						events <- fsnotify.Event{}
					})
					time.Sleep(c.every)
				}
				time.Sleep(2 * watchRest)
				close(done)
				<-ended
				require.GreaterOrEqual(t, len(reads), c.least)
				for i := 1; i < len(reads); i++ {
					require.GreaterOrEqual(t, reads[i].Sub(reads[i-1]), watchRest)
				}
				if c.name != "signals" {
					require.Equal(t, strings.Repeat("x", n), last)
				}
			})
		})
	}
}

// What makes no sense is said when the program starts.
func TestTLSFlags(t *testing.T) {
	dir := t.TempDir()
	authority := certs.New(t)
	certFile, keyFile := authority.Issue(t, "localhost", nil).Write(t, dir)
	otherKey := filepath.Join(dir, "other.pem")
	write(t, otherKey, string(authority.Issue(t, "other", nil).Key))
	empty := filepath.Join(dir, "empty.pem")
	write(t, empty, "")
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--tls-cert", certFile}, "--tls-cert and --tls-key go together"},
		{[]string{"--tls-key", keyFile}, "--tls-cert and --tls-key go together"},
		{[]string{"--tls-addr", ":0"}, "--tls-addr and --tls-client-ca need --tls-cert and --tls-key"},
		{[]string{"--tls-client-ca", certFile}, "--tls-addr and --tls-client-ca need --tls-cert and --tls-key"},
		{[]string{"--tls-cert", "none.pem", "--tls-key", keyFile}, "certificate none.pem with key " + keyFile + ": open none.pem: no such file or directory"},
		{[]string{"--tls-cert", certFile, "--tls-key", otherKey}, "tls: private key does not match public key"},
		{[]string{"--tls-cert", empty, "--tls-key", keyFile}, "tls: failed to find any PEM data in certificate input"},
		{[]string{"--tls-cert", keyFile, "--tls-key", certFile}, "PEM"},
		{[]string{"--tls-cert", certFile, "--tls-key", keyFile, "--tls-client-ca", empty}, "authorities of clients: " + empty + ": no PEM certificate in it"},
		{[]string{"--tls-cert", certFile, "--tls-key", pipe}, "--tls-cert, --tls-key, --tls-client-ca: " + pipe + " is no regular file"},
		{[]string{"--tls-cert", certFile, "--tls-key", keyFile, "--tls-client-ca", "/dev/zero"}, "/dev/zero is no regular file"},
		{[]string{"--tls-cert", certFile, "--tls-key", keyFile}, ""},
		{[]string{"--tls-cert", certFile, "--tls-key", keyFile, "--tls-client-ca", certFile, "--tls-client-auth", "optional", "--tls-min-version", "1.3"}, ""},
	} {
		f := parsed(t, c.args...)
		_, err := newServer(&f, &node{}, nil, nil)
		if c.want == "" {
			require.NoError(t, err, "%q", c.args)
			continue
		}
		require.ErrorContains(t, err, c.want, "%q", c.args)
	}
}

// Which addresses speak TLS.
func TestTLSAddresses(t *testing.T) {
	for _, c := range []struct {
		args   []string
		listen []string
		speak  []bool
		err    string
	}{
		{nil, []string{":3000"}, []bool{false}, ""},
		{[]string{"--tls-cert=c"}, []string{":3000"}, []bool{true}, ""},
		{[]string{"--tls-cert=c", "--addr=:1,unix:/s"}, []string{":1", "unix:/s"}, []bool{true, false}, ""},
		{[]string{"--tls-cert=c", "--tls-addr=:2"}, []string{":3000", ":2"}, []bool{false, true}, ""},
		{[]string{"--tls-cert=c", "--addr=:1,:2,unix:/s", "--tls-addr=:2,unix:/s"}, []string{":1", ":2", "unix:/s"}, []bool{false, true, true}, ""},
	} {
		f := parsed(t, c.args...)
		require.Equal(t, c.listen, f.addresses(), "%q", c.args)
		var places []*place
		for _, address := range c.listen {
			places = append(places, &place{Listener: named(address), given: address})
		}
		require.NoError(t, f.markTLS(places))
		var speak []bool
		for _, p := range places {
			speak = append(speak, p.tls)
		}
		require.Equal(t, c.speak, speak, "%q", c.args)
	}
	f := parsed(t, "--tls-cert=c", "--tls-addr=:2")
	require.ErrorContains(t, f.markTLS([]*place{{Listener: named(":1"), given: ":1"}}), "--tls-addr: the server does not listen on :2")
}

// named is a listener of which only the address matters.
type named string

func (n named) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (n named) Close() error              { return nil }

func (n named) Addr() net.Addr {
	if path, ok := strings.CutPrefix(string(n), "unix:"); ok {
		return &net.UnixAddr{Net: "unix", Name: path}
	}
	return &net.TCPAddr{}
}
