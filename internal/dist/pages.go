package main

import (
	"bytes"
	"compress/gzip"
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
	return text, nil
}

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
		{Word: "SIGHUP", Means: "The configuration file and the TLS files are read again."},
		{Word: "SIGUSR1", Means: "A line of figures is logged."},
	}},
	{Title: "FILES", Text: "What the packages install.", Terms: []manual.Term{
		{Word: "/etc/turbine/turbine.yaml", Means: "The configuration file of the unit turbine.service."},
		{Word: "/run/turbine", Means: "A folder for Unix sockets and the pid file, while the unit runs."},
		{Word: "/usr/share/turbine/sysctl.conf", Means: "What the kernel needs for many clients. It is not turned on."},
	}},
}
