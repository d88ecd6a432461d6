package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const monitoring = "../../docs/monitoring/"

func promtool(t *testing.T) string { return find(t, "PROMTOOL", "promtool", "prometheus") }

// The alert rules can be read, and are raised where their cases say so.
func TestAlertRules(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.Command(promtool(t), args...)
		cmd.Dir = monitoring
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "SUCCESS")
	}
}

// serveOperations is serve with an address of operations, which it returns.
func serveOperations(t *testing.T, args ...string) (s *server, operations string) {
	t.Helper()
	operations = freeAddr(t)
	return serve(t, append([]string{"--ops-addr", operations}, args...)...), operations
}

// What Prometheus' own linter says of a scrape, under way in the form without
// OpenMetrics, as the linter reads no other.
func TestScrapeIsInGoodForm(t *testing.T) {
	s, operations := serveOperations(t)
	s.poll4(t).echoes()
	response, err := http.Get("http://" + operations + "/metrics")
	require.NoError(t, err)
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode, "%s", page)
	require.Contains(t, string(page), "\nturbine_sessions{revision=\"4\",transport=\"polling\"} 1\n")
	cmd := exec.Command(promtool(t), "check", "metrics")
	cmd.Stdin = bytes.NewReader(page)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, string(out))
}

// A prometheus is one that scrapes a server four times a second and knows our rules.
type prometheus struct {
	addr   string
	stderr output
}

func startPrometheus(t *testing.T, target string) *prometheus {
	t.Helper()
	dir := t.TempDir()
	rules, err := filepath.Abs(monitoring + "alerts.yml")
	require.NoError(t, err)
	config := fmt.Sprintf(`
global: {scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 500ms}
rule_files: [%q]
scrape_configs: [{job_name: turbine, static_configs: [{targets: [%q]}]}]
`, rules, target)
	file := filepath.Join(dir, "prometheus.yml")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	p := &prometheus{addr: freeAddr(t)}
	cmd := exec.Command(find(t, "PROMETHEUS", "prometheus", "prometheus"), "--config.file", file, "--log.level", "warn",
		"--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", p.addr)
	cmd.Stdout, cmd.Stderr = &p.stderr, &p.stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		stuck := time.AfterFunc(stopPatience, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		stuck.Stop()
		if t.Failed() {
			t.Logf("output of prometheus:\n%s", p.stderr.String())
		}
	})
	return p
}

// ask decodes the data of an answer, and reports false where prometheus is not there yet.
func (p *prometheus) ask(t *testing.T, path string, query url.Values, data any) bool {
	t.Helper()
	response, err := http.Get("http://" + p.addr + path + "?" + query.Encode())
	if err != nil {
		return false
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	if response.StatusCode == http.StatusServiceUnavailable { // it is starting
		return false
	}
	require.Equal(t, http.StatusOK, response.StatusCode, "%v: %s", query, text)
	answer := struct{ Data any }{data}
	require.NoError(t, json.Unmarshal(text, &answer))
	return true
}

// answers reports whether a query has a result with a number in it.
func (p *prometheus) answers(t *testing.T, query string) bool {
	var data struct {
		Result []struct{ Value [2]any }
	}
	if !p.ask(t, "/api/v1/query", url.Values{"query": {query}}, &data) {
		return false
	}
	for _, r := range data.Result {
		value, err := strconv.ParseFloat(r.Value[1].(string), 64)
		require.NoError(t, err)
		if !math.IsNaN(value) && !math.IsInf(value, 0) {
			return true
		}
	}
	return false
}

// rulesAreWell reports whether each rule has been evaluated, and without an error.
func (p *prometheus) rulesAreWell(t *testing.T) bool {
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	if !p.ask(t, "/api/v1/rules", nil, &data) || len(data.Groups) == 0 {
		return false
	}
	for _, group := range data.Groups {
		for _, rule := range group.Rules {
			if rule.Health == "unknown" {
				return false
			}
			require.Equal(t, "ok", rule.Health, "%s: %s", rule.Name, rule.LastError)
		}
	}
	return true
}

// alerts are those, pending or firing, that a server which runs and is scraped has no
// reason for.
func (p *prometheus) alerts(t *testing.T) (found []string) {
	var data struct {
		Alerts []struct{ Labels map[string]string }
	}
	require.True(t, p.ask(t, "/api/v1/alerts", nil, &data))
	for _, alert := range data.Alerts {
		if name := alert.Labels["alertname"]; slices.Contains([]string{"TurbineDown", "TurbineNoMetrics", "TurbineDescriptorsLow"}, name) {
			found = append(found, name)
		}
	}
	return found
}

// queries are those of the dashboard's panels, for all instances.
func queries(t *testing.T) (all []string) {
	t.Helper()
	text, err := os.ReadFile(monitoring + "grafana.json")
	require.NoError(t, err)
	var board struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &board))
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			all = append(all, strings.NewReplacer("$__rate_interval", "5s", "$job", "turbine", "$instance", ".*").Replace(target.Expr))
		}
	}
	require.Greater(t, len(all), 30)
	return all
}

// busy is a round of what clients do and suffer, so that each figure moves: sessions of
// both revisions and transports that come and go, an upgrade, messages, a page from
// elsewhere, a limit that is met.
func (s *server) busy(t *testing.T) {
	t.Helper()
	session := s.poll4(t)
	session.echoes()
	ws := s.dial(t)
	ws.upgrade(session.with("websocket"))
	ws.send("2probe")
	ws.receives("3probe")
	session.polls("6")
	ws.send("5")
	ws.echoes()
	ws.close(status(1000, ""), 1000)
	_, _ = s.websocket(t, 4) // stays, and is sent a ping
	_ = s.poll3(t)

	page := s.dial(t)
	page.write(s.head("GET", "EIO=4&transport=polling") + "Origin: http://elsewhere.example\r\n\r\n")
	require.Equal(t, http.StatusForbidden, page.reply("GET").status)
	verbose := s.dial(t)
	verbose.write(s.head("GET", "EIO=4&transport=polling") + strings.Repeat("X: y\r\n", 20) + "\r\n")
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, verbose.reply("GET").status)
}

// Each query of the dashboard has an answer, and each alert rule can be evaluated, in a
// Prometheus that scrapes the program.
func TestDashboardShowsTheProgram(t *testing.T) {
	t.Parallel()
	s, operations := serveOperations(t, "--ping-interval", "3s", "--ping-timeout", "60s", "--max-headers", "15") // no ping comes between what busy does
	p := startPrometheus(t, operations)
	open := queries(t)
	rules := false
	for end := time.Now().Add(2 * patience); len(open) > 0 || !rules; time.Sleep(200 * time.Millisecond) {
		require.True(t, time.Now().Before(end), "no answer to %q; rules %v", open, rules)
		s.busy(t)
		var still []string
		for _, query := range open {
			if !p.answers(t, query) {
				still = append(still, query)
			}
		}
		open, rules = still, rules || p.rulesAreWell(t)
	}
	// A scrape may have taken too long, and before the first one there are no metrics: what
	// alerts are about then is over by the next evaluation.
	for end := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		up, alerts := p.answers(t, `up{job="turbine"} == 1`), p.alerts(t)
		if up && len(alerts) == 0 {
			break
		}
		require.True(t, time.Now().Before(end), "up: %v; alerts: %q", up, alerts)
	}
}
