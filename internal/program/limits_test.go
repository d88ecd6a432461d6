package program

import (
	"io"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// parsed are the flags of a command line.
func parsed(t *testing.T, args ...string) (f flags) {
	t.Helper()
	var c commands
	_, err := newParser(&c, "", io.Discard, io.Discard).Parse(args)
	require.NoError(t, err)
	return c.Serve
}

// The table of docs/security.md has each limit, with its option, its flag, the
// default of that, and its counter.
func TestLimitsTable(t *testing.T) {
	text, err := os.ReadFile("../../docs/security.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "\n## Limits\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	defaults := map[string]string{}
	for _, flag := range programFlags() {
		defaults["--"+flag.Name] = flag.Default
	}

	rows := map[string]bool{}
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) != 6 || !strings.HasPrefix(line, "| ") || strings.TrimSpace(cells[0]) == "what" {
			continue
		}
		for i := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(cells[i]), "`")
		}
		option, flag, value, counter := cells[1], cells[2], cells[3], cells[5]
		require.False(t, rows[counter], "twice: %s", counter)
		rows[counter] = true
		require.True(t, isOption(option), "option %s", option)
		if flag == "-" {
			continue
		}
		given, ok := defaults[flag]
		require.True(t, ok, "flag %s", flag)
		if given != "0" {
			require.Equal(t, value, given, "default of %s", flag)
		}
	}
	for limit := range engine.NumLimits {
		require.True(t, rows[engine.Limit(limit).String()], "no row for %v", engine.Limit(limit))
	}
	require.Len(t, rows, engine.NumLimits)
}

// Each flag of these groups reaches the option that it is called after, and no other.
func TestFlagsReachOptions(t *testing.T) {
	w := newWording(programFlags())
	for _, group := range []interface{ apply(*engine.Options) error }{&queueFlags{}, &limitFlags{}, &timeoutFlags{}} {
		kind := reflect.TypeOf(group).Elem()
		for i := range kind.NumField() {
			field := kind.Field(i)
			if field.Name == "Exempt" {
				continue
			}
			value := reflect.ValueOf(group).Elem().Field(i)
			value.SetInt(7_000_000)
			var o engine.Options
			require.NoError(t, group.apply(&o))
			set := setOptions("", reflect.ValueOf(o))
			require.Len(t, set, 1, "flag %s", field.Name)
			for name, got := range set {
				require.Equal(t, value.Interface(), got, name)
				require.Equal(t, strings.ToLower(field.Name), strings.ReplaceAll(w.inFlags(name)[2:], "-", ""), name)
			}
			value.SetInt(0)
		}
	}
}

// setOptions are the options that are not zero, by name, those of groups with the
// group's name before them.
func setOptions(group string, o reflect.Value) map[string]any {
	set := map[string]any{}
	for i := range o.NumField() {
		name, value := group+o.Type().Field(i).Name, o.Field(i)
		switch {
		case value.Kind() == reflect.Struct:
			maps.Copy(set, setOptions(name+".", value))
		case !value.IsZero():
			set[name] = value.Interface()
		}
	}
	return set
}

func TestExemptFlag(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []netip.Prefix
	}{
		{nil, nil},
		{[]string{"--exempt", "none"}, []netip.Prefix{}},
		{[]string{"--exempt", "10.0.0.0/8,2001:db8::/32"}, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}},
		{[]string{"--exempt", "203.0.113.7", "--exempt", "::1"}, []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32"), netip.MustParsePrefix("::1/128")}},
	} {
		var o engine.Options
		f := parsed(t, c.args...)
		require.NoError(t, f.limitFlags.apply(&o))
		require.Equal(t, c.want, o.Limits.Exempt, "%q", c.args)
	}
	for _, bad := range []string{"here", "10.0.0.0/33", "none,10.0.0.0/8", "fe80::1%eth0"} {
		f := parsed(t, "--exempt", bad)
		require.ErrorContains(t, f.limitFlags.apply(new(engine.Options)), "--exempt", bad)
	}
}
