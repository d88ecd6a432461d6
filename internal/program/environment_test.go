package program

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// A variable that looks like ours and is no flag's is told, with the one that was
// meant if that can be guessed, and never with its value.
func TestUnknownVariables(t *testing.T) {
	flags := programFlags()
	for _, c := range []struct {
		variable string
		want     string // of the record; "" for none
	}{
		{"TURBINE_ADDR=:1", ""},
		{"TURBINE_MAX_CONNS_PER_IP=1", ""},
		{"TURBINE_TLS_CERT=secret", ""},
		{"TURBINES=secret", ""},
		{"TURBINE=secret", ""},
		{"PATH=secret", ""},
		{"TURBINE_ORIGINS=secret", "variable=TURBINE_ORIGINS nearest=TURBINE_ORIGIN\n"},
		{"TURBINE_ADRR=secret", "variable=TURBINE_ADRR nearest=TURBINE_ADDR\n"},
		{"TURBINE_PINGINTERVAL=secret", "variable=TURBINE_PINGINTERVAL nearest=TURBINE_PING_INTERVAL\n"},
		{"TURBINE_MAX_CONNS_PER_ID=", "variable=TURBINE_MAX_CONNS_PER_ID nearest=TURBINE_MAX_CONNS_PER_IP\n"},
		{"TURBINE_VERSION=secret", "variable=TURBINE_VERSION\n"},
		{"TURBINE_FRAGRANCE=secret", "variable=TURBINE_FRAGRANCE\n"},
		{"TURBINE_=secret", "variable=TURBINE_\n"},
		{"TURBINE_SERVICE_HOST=secret", "variable=TURBINE_SERVICE_HOST\n"},
	} {
		require.Equal(t, c.want, warned(flags, c.variable), c.variable)
	}
	for _, link := range []string{
		"TURBINE_SERVICE_HOST", "TURBINE_SERVICE_PORT", "TURBINE_SERVICE_PORT_HTTP", "TURBINE_PORT", "TURBINE_PORT_3000_TCP",
		"TURBINE_PORT_3000_TCP_PROTO", "TURBINE_CANARY_PORT_3000_TCP_ADDR",
	} {
		require.Empty(t, warned(flags, "KUBERNETES_SERVICE_HOST=10.0.0.1", link+"=x"), link)
	}
	require.NotEmpty(t, warned(flags, "KUBERNETES_SERVICE_HOST=10.0.0.1", "TURBINE_ADRR=x"))
}

// warned are the attributes of what is logged of an environment.
func warned(flags []*kong.Flag, environment ...string) string {
	var log bytes.Buffer
	warnOfVariables(slog.New(slog.NewTextHandler(&log, nil)), environment, flags)
	_, attrs, _ := strings.Cut(log.String(), "it is ignored\" ")
	return attrs
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "bc", 1}, {"abc", "xabc", 1}, {"kitten", "sitting", 3}} {
		require.Equal(t, c.want, distance(c.a, c.b), "%q %q", c.a, c.b)
		require.Equal(t, c.want, distance(c.b, c.a), "%q %q", c.b, c.a)
	}
}
