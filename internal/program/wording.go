package program

import (
	"errors"
	"log/slog"
	"reflect"
	"regexp"
	"strings"

	"turbine/engine"

	"github.com/alecthomas/kong"
)

// A wording puts the flags of the program in the place of the options of package
// engine, whose errors and log records name options: an operator has flags.
type wording map[string]string // the flag of an option, without its dashes and in lower case

// otherNames are options whose flag has another name.
var otherNames = map[string]string{ // #nosec G101 -- names of flags
	"Access.Bind": "--bind-ip", "CORS.Origins": "--cors-origin", "CORS.Credentials": "--cors-credentials", "Cookie.Name": "--cookie", "Access.Origins": "--origin",
	"Proxies.Trusted": "--trusted-proxy",
	"Queue.MaxBytes":  "--max-queue", "Queue.MaxPackets": "--max-queue-packets", "Queue.Budget": "--queue-budget",
	"Timeouts.Idle": "--idle-timeout", "Timeouts.Header": "--header-timeout", "Timeouts.Body": "--body-timeout",
	"Timeouts.Upgrade": "--upgrade-timeout", "Timeouts.Close": "--close-timeout",
	"Timeouts.FirstRequest": "--first-request-timeout", "Timeouts.TLSHandshake": "--tls-handshake-timeout",
	"Drain.Delay": "--drain-delay", "Drain.Period": "--drain-period",
}

var optionName = regexp.MustCompile(`\b[A-Z]\w*(\.[A-Z]\w*)*`)

func newWording(flags []*kong.Flag) wording {
	w := wording{}
	for _, f := range flags {
		w[strings.ReplaceAll(f.Name, "-", "")] = "--" + f.Name
	}
	return w
}

// inFlags is text with the flag for each option that has one.
func (w wording) inFlags(text string) string {
	return optionName.ReplaceAllStringFunc(text, func(name string) string {
		if flag, ok := otherNames[name]; ok {
			return flag
		}
		flag, ok := w[strings.ToLower(name[strings.LastIndex(name, ".")+1:])]
		if !ok || !isOption(name) {
			return name
		}
		return flag
	})
}

// isOption reports whether name is a field of engine.Options, or of one of its
// groups.
func isOption(name string) bool {
	kind := reflect.TypeFor[engine.Options]()
	for part := range strings.SplitSeq(name, ".") {
		if kind.Kind() != reflect.Struct {
			return false
		}
		field, ok := kind.FieldByName(part)
		if !ok {
			return false
		}
		kind = field.Type
	}
	return true
}

// usage is the text of an error that the command line is to blame for.
func (w wording) usage(err error) string {
	if !errors.Is(err, engine.ErrOptions) {
		return err.Error()
	}
	return w.inFlags(strings.TrimPrefix(err.Error(), engine.ErrOptions.Error()+": "))
}

// attr is for slog.HandlerOptions.ReplaceAttr.
func (w wording) attr(_ []string, a slog.Attr) slog.Attr {
	if a.Key == "help" {
		a.Value = slog.StringValue(w.inFlags(a.Value.String()))
	}
	return a
}
