//go:build linux

package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var debFolder = flag.String("deb", "", "folder with the deb to install")

// patience is how long a step may take: systemd's own times are longer.
const patience = 30 * time.Second

// TestDeb does with the package what an operator does: install it, set it up, start
// it, upgrade it while clients are connected, remove it, purge it.
func TestDeb(t *testing.T) {
	if *debFolder == "" {
		t.Skip("make package builds a deb and runs this test with it")
	}
	if os.Geteuid() != 0 {
		t.Skip("installs a package: run make package as root")
	}
	debs, err := filepath.Glob(filepath.Join(*debFolder, "turbine_*.deb"))
	require.NoError(t, err)
	require.Len(t, debs, 1)
	m := boot(t, map[string]string{"first.deb": debs[0], "second.deb": newer(t, debs[0])})

	m.run("dpkg", "--install", "/test/first.deb")
	m.run("dpkg", "--verify", "turbine")
	require.Contains(t, m.run("getent", "passwd", "turbine"), ":/usr/sbin/nologin")
	require.Equal(t, "disabled", m.answer("systemctl", "is-enabled", "turbine"), "an operator starts it, when it is set up")
	require.Equal(t, "inactive", m.answer("systemctl", "is-active", "turbine"))
	require.Regexp(t, `^turbine \S+, commit [0-9a-f]{12}, go1\.`, m.run("/usr/bin/turbine", "--version"))
	require.FileExists(t, filepath.Join(m.root, "usr/share/bash-completion/completions/turbine"))
	require.FileExists(t, filepath.Join(m.root, "usr/share/doc/turbine/docs/operate.md"))
	require.FileExists(t, filepath.Join(m.root, "usr/share/doc/turbine/docs/monitoring/alerts.yml"))

	// What the operator has changed stays when the package changes.
	require.Regexp(t, `^/etc/turbine/turbine\.yaml [0-9a-f]{32}$`, m.run("dpkg-query", "--showformat=${Conffiles}", "--show", "turbine"))
	const settings = "addr: [\"127.0.0.1:3000\", \"unix:/run/turbine/turbine.sock\"]\nhealth-path: /healthz\ndrain-timeout: 2s\ndrain-period: 1s\norigin: https://example.com\n" +
		"ops-addr: \"0.0.0.0:3001\"\nops-keys: /etc/turbine/ops.keys\n"
	const key = "0123456789abcdef0123456789abcdef"
	keys := filepath.Join(m.root, "etc/turbine/ops.keys")
	require.NoError(t, os.WriteFile(keys, []byte("prometheus metrics "+key+"\n"), 0o600))
	m.run("chown", "root:turbine", "/etc/turbine/ops.keys")
	m.run("chmod", "640", "/etc/turbine/ops.keys")
	require.NoError(t, os.WriteFile(filepath.Join(m.root, "etc/turbine/turbine.yaml"), []byte(settings), 0o644))
	m.run("systemctl", "enable", "--now", "turbine")
	first := m.mainPID()
	require.Equal(t, "turbine", m.run("stat", "--format=%U", "/proc/"+first))
	status := m.run("cat", "/proc/"+first+"/status")
	for _, want := range []string{`NoNewPrivs:\s+1`, `Seccomp:\s+2`, `CapEff:\s+0{16}`, `CapBnd:\s+0{16}`} {
		require.Regexp(t, want, status)
	}
	require.Equal(t, "LimitNOFILE=1048576", m.run("systemctl", "show", "--property=LimitNOFILE", "turbine"))
	require.Equal(t, "turbine turbine 660", m.run("stat", "--format=%U %G %a", "/run/turbine/turbine.sock"))
	m.healthy("127.0.0.1:3000")
	m.healthy("unix:/run/turbine/turbine.sock")
	require.Regexp(t, `^HTTP/1\.1 200 `, m.get("/engine.io/?EIO=4&transport=polling", "https://example.com"))
	require.Regexp(t, `^HTTP/1\.1 403 `, m.get("/engine.io/?EIO=4&transport=polling", "https://example.org"))

	require.Equal(t, "turbine health: ok", m.run("/usr/bin/turbine", "health", "--config", "/etc/turbine/turbine.yaml"))

	// The keys that root has written open what they are for.
	require.Regexp(t, `^HTTP/1\.1 401 `, m.ask("3001", "/metrics", ""))
	require.Regexp(t, `^HTTP/1\.1 200 `, m.ask("3001", "/metrics", "Authorization: Bearer "+key+"\r\n"))
	require.Equal(t, "turbine health: ok", m.run("/usr/bin/turbine", "health", "--ops-addr", "127.0.0.1:3001"))

	// The server sees in its sandbox that the file has changed.
	changed := strings.Replace(settings, "https://example.com", "https://example.org", 1)
	require.NoError(t, os.WriteFile(filepath.Join(m.root, "etc/turbine/turbine.yaml"), []byte(changed), 0o644))
	m.eventually("the changed origin to be let in", func() bool {
		return strings.HasPrefix(m.get("/engine.io/?EIO=4&transport=polling", "https://example.org"), "HTTP/1.1 200 ")
	})

	// An upgrade replaces the process while the service runs.
	m.run("dpkg", "--force-confold", "--install", "/test/second.deb")
	m.eventually("the new process to take over", func() bool { return m.mainPID() != first })
	m.healthy("127.0.0.1:3000")
	m.eventually("the old process to end", func() bool { return m.answer("test", "-e", "/proc/"+first+"/exe") != "" })
	require.Equal(t, "active", m.answer("systemctl", "is-active", "turbine"))
	require.Equal(t, "NRestarts=0", m.run("systemctl", "show", "--property=NRestarts", "turbine"))
	require.Equal(t, changed, text(t, filepath.Join(m.root, "etc/turbine/turbine.yaml")))

	// A setting that makes no sense is told, and not tried again and again.
	require.NoError(t, os.WriteFile(filepath.Join(m.root, "etc/turbine/turbine.yaml"), []byte("addr: \"3000\"\n"), 0o644))
	second := m.mainPID()
	_, err = m.try("systemctl", "reload", "turbine")
	require.Error(t, err, "what a reload would begin with is wrong")
	require.Equal(t, second, m.mainPID())
	m.healthy("127.0.0.1:3000")
	require.NotEmpty(t, m.answer("systemctl", "restart", "turbine"))
	require.Equal(t, "failed", m.answer("systemctl", "is-active", "turbine"))
	require.Equal(t, "ExecMainStatus=2", m.run("systemctl", "show", "--property=ExecMainStatus", "turbine"))
	require.NoError(t, os.WriteFile(filepath.Join(m.root, "etc/turbine/turbine.yaml"), []byte(settings), 0o644))
	m.run("systemctl", "restart", "turbine")
	last := m.mainPID()

	m.run("dpkg", "--remove", "turbine")
	require.NotEmpty(t, m.answer("test", "-e", "/proc/"+last), "it is stopped")
	require.Equal(t, settings, text(t, filepath.Join(m.root, "etc/turbine/turbine.yaml")))
	m.run("dpkg", "--purge", "turbine")
	require.Equal(t, "root root 640", m.run("stat", "--format=%U %G %a", "/etc/turbine/ops.keys"), "it is the operator's own, and no later group's")
	m.run("rm", "-r", "/etc/turbine")
	require.NotEmpty(t, m.answer("getent", "passwd", "turbine"))
	require.Empty(t, m.run("find", "/etc", "/usr", "/var", "/run", "/home", "-xdev", "-name", "*turbine*",
		"-not", "-path", "/var/log/*", "-not", "-path", "/run/systemd/*", "-not", "-path", "/run/log/*"))
}

// newer is the package with a higher version and other settings.
func newer(t *testing.T, deb string) string {
	t.Helper()
	dir, out := filepath.Join(t.TempDir(), "deb"), filepath.Join(t.TempDir(), "newer.deb")
	do := func(args ...string) {
		out, err := exec.Command("dpkg-deb", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	do("--raw-extract", deb, dir)
	control := filepath.Join(dir, "DEBIAN/control")
	version := regexp.MustCompile(`(?m)^Version: .*$`)
	require.Regexp(t, version, text(t, control))
	require.NoError(t, os.WriteFile(control, version.ReplaceAll([]byte(text(t, control)), []byte("Version: 999.0.0")), 0o644))
	settings := filepath.Join(dir, "etc/turbine/turbine.yaml")
	require.NoError(t, os.WriteFile(settings, []byte(text(t, settings)+"# newer\n"), 0o644))
	do("--build", "-Znone", dir, out)
	return out
}

// A machine is a copy of this one, with processes and a network of its own, on which
// systemd runs. What it writes is in memory, and gone with it.
type machine struct {
	t    *testing.T
	pid  int    // of its systemd
	root string // its files, as this process sees them
}

// booting makes the copy: $1 is an empty folder, $2 one of files that go to /test.
const booting = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mkdir -p test etc/systemd/system
cp -r "$2/." test
: >etc/fstab
printf '[Unit]\nDescription=What the test needs\nDefaultDependencies=no\nWants=systemd-journald.socket\n' >etc/systemd/system/test.target
for unit in sysinit.target basic.target network-online.target; do
	printf '[Unit]\nDescription=Nothing\nDefaultDependencies=no\n' >etc/systemd/system/$unit
done
exec unshare --cgroup sh -c 'mount -t cgroup2 cgroup sys/fs/cgroup && exec chroot . "$@"' sh /usr/bin/env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=test.target --log-target=console --log-level=notice
`

// boot starts the copy with files in /test, and ends it with the test.
func boot(t *testing.T, files map[string]string) *machine {
	t.Helper()
	dir, give := t.TempDir(), t.TempDir()
	for name, from := range files {
		require.NoError(t, os.WriteFile(filepath.Join(give, name), []byte(text(t, from)), 0o600))
	}
	cmd := exec.Command("/bin/sh", "-c", booting, "sh", dir, give)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:   syscall.SIGKILL,
		UseCgroupFD: true,
		CgroupFD:    ownCgroup(t),
	}
	var console bytes.Buffer
	cmd.Stdout, cmd.Stderr = &console, &console
	cmd.WaitDelay = time.Second
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // the first process of its namespace: all others end with it
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("console:\n%s", console.String())
		}
	})
	m := &machine{t: t, pid: cmd.Process.Pid, root: fmt.Sprintf("/proc/%d/root", cmd.Process.Pid)}
	m.eventually("systemd to start", func() bool {
		_, err := os.Stat(filepath.Join(m.root, "run/systemd/private"))
		return err == nil && m.answer("systemctl", "is-active", "test.target") == "active"
	})
	return m
}

// ownCgroup makes a cgroup, below which systemd makes others, and removes them all when
// the test has ended.
func ownCgroup(t *testing.T) (fd int) {
	t.Helper()
	all := t.TempDir()
	require.NoError(t, syscall.Mount("cgroup", all, "cgroup2", 0, ""))
	own := filepath.Join(all, fmt.Sprintf("turbine-deb-test-%d", os.Getpid()))
	t.Cleanup(func() {
		var folders []string
		_ = filepath.WalkDir(own, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				folders = append(folders, path)
			}
			return nil
		})
		for _, folder := range slices.Backward(folders) { // those inside first
			require.NoError(t, os.Remove(folder))
		}
		require.NoError(t, syscall.Unmount(all, 0))
	})
	require.NoError(t, os.Mkdir(own, 0o700))
	folder, err := os.Open(own)
	require.NoError(t, err)
	t.Cleanup(func() { _ = folder.Close() })
	return int(folder.Fd())
}

// try runs a program there.
func (m *machine) try(args ...string) (out string, err error) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	enter := []string{"--target", strconv.Itoa(m.pid), "--mount", "--pid", "--net", "--ipc", "--uts", "--root",
		"/usr/bin/env", "--chdir=/", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"}
	text, err := exec.CommandContext(ctx, "nsenter", append(enter, args...)...).CombinedOutput()
	return strings.TrimSpace(string(text)), err
}

// run runs a program there that has to succeed, and returns what it prints.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil {
		log, _ := m.try("journalctl", "--no-pager", "--lines=50")
		require.NoError(m.t, err, "%v: %s\n%s", args, out, log)
	}
	return out
}

// answer is what a program there prints, or its error if it fails and prints nothing.
func (m *machine) answer(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil && out == "" {
		return err.Error()
	}
	return out
}

// eventually waits for what systemd does in its own time.
func (m *machine) eventually(what string, done func() bool) {
	m.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			log, _ := m.try("journalctl", "--no-pager", "--lines=50")
			require.FailNow(m.t, "waited for "+what, log)
		}
	}
}

func (m *machine) mainPID() string {
	m.t.Helper()
	_, pid, _ := strings.Cut(m.run("systemctl", "show", "--property=MainPID", "turbine"), "=")
	return pid
}

func (m *machine) healthy(addr string) {
	m.t.Helper()
	require.Equal(m.t, "turbine health: ok", m.run("/usr/bin/turbine", "health", "--addr", addr, "--health-path", "/healthz"))
}

// get asks the server for a path as a page of an origin does.
func (m *machine) get(path, origin string) string {
	m.t.Helper()
	return m.ask("3000", path, "Origin: "+origin+"\r\n")
}

// ask asks at a port for a path, with more lines of a head.
func (m *machine) ask(port, path, lines string) string {
	m.t.Helper()
	request := "GET " + path + " HTTP/1.1\r\nHost: turbine\r\n" + lines + "Connection: close\r\n\r\n"
	return m.run("bash", "-c", `exec 3<>"/dev/tcp/127.0.0.1/$1"; printf %s "$2" >&3; cat <&3`, "bash", port, request)
}
