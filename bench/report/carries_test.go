package report

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatAMachineCarries(t *testing.T) {
	c := costs{message: 5e-6, heartbeat: 12.5e-6, handshake: 40e-6, secure: 700e-6, user: 500, kernel: 5500, scaling: 1}
	for _, x := range []struct {
		name   string
		change func(*costs)
		want   carried
	}{
		{"memory is the limit", func(*costs) {},
			carried{sessions: 12 << 30 / 6000., memory: true, beating: 0.05, messages: 550_000, handshakes: 70_000, secure: 4000}},
		{"two cores do less than twice of one", func(c *costs) { c.scaling = 0.5 },
			carried{sessions: 12 << 30 / 6000., memory: true, beating: 0.1, messages: 270_000, handshakes: 35_000, secure: 2000}},
		{"heartbeats are the limit", func(c *costs) { c.heartbeat = 1e-3 },
			carried{sessions: 70_000, beating: 4, messages: 0, handshakes: 70_000, secure: 4000}},
		{"no TLS", func(c *costs) { c.secure = 0 },
			carried{sessions: 12 << 30 / 6000., memory: true, beating: 0.05, messages: 550_000, handshakes: 70_000}},
		{"heartbeats that were too cheap to see", func(c *costs) { c.heartbeat = 0 },
			carried{sessions: 12 << 30 / 6000., memory: true, messages: 560_000, handshakes: 70_000, secure: 4000}},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := c
			x.change(&c)
			got := c.carries()
			require.InEpsilonSlice(t, []float64{x.want.sessions, 1 + x.want.messages, x.want.handshakes, 1 + x.want.secure, 1 + x.want.beating},
				[]float64{got.sessions, 1 + got.messages, got.handshakes, 1 + got.secure, 1 + got.beating}, 1e-9)
			require.Equal(t, x.want.memory, got.memory)
		})
	}
}

// What is computed comes from the cells, the medians of the rounds.
func TestCostsAreRead(t *testing.T) {
	r := made()
	r.Million.KernelBytes = 10_000
	for id, s := range map[string]Sample{
		"echo-128":      {Operations: 200_000, ServerCPU: time.Second},
		"cores-2":       {Operations: 180_000, ServerCPU: time.Second},
		"heartbeat":     {Operations: 1000, ServerCPU: 13 * time.Millisecond},
		"ws-handshake":  {Operations: 25_000, ServerCPU: time.Second},
		"tls-handshake": {Operations: 1000, ServerCPU: time.Second},
		"idle-ws":       {RSS: 500_000, Sessions: 1000},
	} {
		r.Cell(id, Ours).Samples = []Sample{s}
	}
	got, ok := r.costsOf(Ours)
	require.True(t, ok)
	want := costs{message: 5e-6, heartbeat: 13e-6, handshake: 40e-6, secure: 1e-3, user: 500, kernel: 5000, scaling: 0.9}
	require.InEpsilonSlice(t, []float64{want.message, want.heartbeat, want.handshake, want.secure, want.user, want.kernel, want.scaling},
		[]float64{got.message, got.heartbeat, got.handshake, got.secure, got.user, got.kernel, got.scaling}, 1e-9)

	text := string(r.document().markdown(nil))
	require.Contains(t, text, "| turbine | 2,300,000 | memory | 0.06 | 490,000 | 63,000 | 2,500 | 1.59 | 39.7 |")
	require.Contains(t, text, "turbine: message 5.00 µs, heartbeat 13.0 µs, handshake 40.0 µs, over TLS 1,000 µs of CPU; idle session 500 bytes, socket 5,000; scaling 0.90.")
	require.NotContains(t, text, "gnet: message", "a raw server has no sessions")

	r.Cell("ws-handshake", Ours).Samples[0].Wrong = 1
	require.Contains(t, string(r.document().markdown(nil)), "| turbine‡ | 2,300,000 |", "what is computed bears the marks of what was measured")

	r.Cell("heartbeat", Ours).Samples = nil
	_, ok = r.costsOf(Ours)
	require.False(t, ok, "nothing is made up for what was not measured")
}

func TestRough(t *testing.T) {
	for x, want := range map[float64]string{2_345_678: "2,300,000", 987: "990", 12.3: "12.0", 4.56: "4.60", 0.5: "0.50", 0: "0"} {
		require.Equal(t, want, rough(x))
	}
}
