package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"regexp"
	"time"

	"turbine/internal/manual"
	"turbine/internal/program"
)

// pagesOf are the man page and the completions of shells, by their names in a stage.
func pagesOf(version string, date time.Time) (map[string][]byte, error) {
	model := program.Model()
	page := manual.Page(model, manual.About{Version: version, Date: date, Summary: "Engine.IO server on an event loop", Sections: chapters})
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(page); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	file, err := settings()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		"turbine.yaml": file,
		"turbine.1":    page,
		"turbine.1.gz": packed.Bytes(),
		"turbine.bash": manual.Bash(model),
		"turbine.zsh":  manual.Zsh(model),
		"turbine.fish": manual.Fish(model),
	}, nil
}

// set are the settings of the packages that differ from the defaults: the unit waits
// long enough for such a drain, and turbine health and load balancers have a path.
var set = map[string]string{"health-path": `"/healthz"`, "drain-timeout": "60s"}

// settings are the configuration file of the packages: every flag with its
// description and its default, commented out, except for those that are set.
func settings() ([]byte, error) {
	var file, errs bytes.Buffer
	if code := program.Run([]string{"config", "default"}, &file, &errs, program.Extra{}); code != 0 {
		return nil, fmt.Errorf("turbine config default: %s", errs.String())
	}
	text := file.Bytes()
	for name, value := range set {
		line := regexp.MustCompile(`(?m)^#` + name + `: .*$`)
		if len(line.FindAll(text, -1)) != 1 {
			return nil, fmt.Errorf("turbine config default has not one line of %s", name)
		}
		text = line.ReplaceAll(text, []byte(name+": "+value))
	}
	const section = "\n## Operations\n"
	if bytes.Count(text, []byte(section)) != 1 {
		return nil, errors.New("turbine config default has not one section of operations")
	}
	return bytes.Replace(text, []byte(section), []byte(section+operations), 1), nil
}

// operations is what the settings of the packages say of operations in addition to their
// flags. The lines with more than one space in front are an example of settings.
const operations = `
# The server answers its operator at ops-addr: curl localhost:3001/healthz. As long as there are no
# keys, every user and program of this machine may use all of it. To keep others out, take a Unix
# socket, which is for root and the user turbine alone:
#
#   ops-addr: "unix:/run/turbine/ops.sock"
#
# or keys, which let in a Prometheus or an operator on another machine as well. Make a key for each
# of them (openssl rand -hex 32), write a line for each into /etc/turbine/ops.keys, with a name, its
# scopes and its key, such as
#
#     prometheus  metrics            KEY
#     ann         read,debug,drain   KEY
#
# keep the file from others (chown root:turbine and chmod 640), and serve over TLS what leaves this
# machine:
#
#   ops-addr: "0.0.0.0:3001"
#   ops-keys: "/etc/turbine/ops.keys"
#   ops-tls-cert: "/etc/turbine/ops.pem"
#   ops-tls-key: "/etc/turbine/ops-key.pem"
#
# A file of keys or certificates that changes is read again; other settings of operations need
# systemctl reload turbine, and systemctl restart turbine where ops-addr changes but not its port.
`

// chapters are what the man page says that no flag does.
var chapters = []manual.Section{
	{Title: "EXIT STATUS", Terms: []manual.Term{
		{Word: "0", Means: "A signal ended the program, in good order or at the deadline."},
		{Word: "1", Means: "The program cannot serve: an address is taken, the descriptor limit leaves no room, the pid file cannot be written."},
		{Word: "2", Means: "The command line or the configuration file makes no sense, a file of keys or certificates that they name is missing, unreadable or wrong, or the address of operations is taken."},
	}},
	{Title: "SIGNALS", Terms: []manual.Term{
		{Word: "SIGTERM, SIGINT", Means: "The program drains, and ends. A second one ends it at once."},
		{Word: "SIGUSR2", Means: "The program is started again from the same path, takes over the port, and this process drains. No client is refused."},
		{Word: "SIGHUP", Means: "The configuration file and the files of TLS and of operations are read again."},
		{Word: "SIGUSR1", Means: "A line of figures is logged."},
	}},
	{Title: "FILES", Text: "What the packages install.", Terms: []manual.Term{
		{Word: "/etc/turbine/turbine.yaml", Means: "The configuration file of the unit turbine.service."},
		{Word: "/etc/turbine/ops.keys", Means: "The place for the file of --ops-keys. The packages do not make it."},
		{Word: "/run/turbine", Means: "A folder for Unix sockets and the pid file, while the unit runs."},
		{Word: "/usr/share/turbine/sysctl.conf", Means: "What the kernel needs for many clients. It is not turned on."},
	}},
}
