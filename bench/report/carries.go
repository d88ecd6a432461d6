package report

import (
	"fmt"
	"math"
	"time"
)

// The machine that carries is asked about.
const (
	carrierCores    = 4
	carrierBusy     = 0.7 // of the cores, so that a burst finds some
	carrierMemory   = 16 << 30
	carrierHeld     = 0.75 // of the memory, for sessions
	carrierInterval = 25 * time.Second
	carrierSessions = 100_000 // of those that talk
)

// costs are what was measured of a peer, seconds of CPU and bytes.
type costs struct {
	message   float64 // a message of 128 B that is received and echoed
	heartbeat float64 // a ping and its pong
	handshake float64 // of a WebSocket session
	secure    float64 // the same over TLS; 0 where it was not measured
	user      float64 // bytes of an idle session, the server's
	kernel    float64 // bytes of its socket, the kernel's; 0 where it was not measured
	scaling   float64 // what a second of CPU does on two cores, compared with one
	marks     string  // of what was measured
}

// costsOf reads a peer's costs off the report. ok is false where one that is needed
// was not measured.
func (r *Report) costsOf(peer string) (c costs, ok bool) {
	echo, beat, idle, handshake := r.Cell("echo-128", peer), r.Cell("heartbeat", peer), r.Cell("idle-ws", peer), r.Cell("ws-handshake", peer)
	if echo == nil || beat == nil || idle == nil || handshake == nil || echo.Median(PerCPU) == 0 || handshake.Median(PerCPU) == 0 {
		return costs{}, false
	}
	c = costs{message: 1 / echo.Median(PerCPU), heartbeat: beat.Median(CPUTime) / 1e6, handshake: 1 / handshake.Median(PerCPU), user: idle.Median(Bytes), scaling: 1}
	if secure := r.Cell("tls-handshake", peer); secure != nil && secure.Median(PerCPU) > 0 {
		c.secure = 1 / secure.Median(PerCPU)
	}
	if two := r.Cell("cores-2", peer); two != nil {
		c.scaling = min(1, two.Median(PerCPU)/echo.Median(PerCPU))
	}
	for _, id := range []string{"echo-128", "heartbeat", "idle-ws", "ws-handshake", "tls-handshake", "cores-2"} {
		if cell := r.Cell(id, peer); cell != nil {
			c.marks = union(c.marks, cell.marks())
		}
	}
	if r.Million != nil {
		c.kernel = r.Million.KernelBytes / 2 // of both ends
	}
	return c, c.user+c.kernel > 0
}

// carried is what such a machine carries.
type carried struct {
	sessions   float64 // that are idle
	memory     bool    // which is their limit; otherwise the CPU of their heartbeats
	beating    float64 // cores that the heartbeats of carrierSessions take
	messages   float64 // a second, in and out, in addition to the heartbeats
	handshakes float64 // a second
	secure     float64 // a second, over TLS; 0 where it is not known
}

func (c costs) carries() (x carried) {
	budget := carrierCores * carrierBusy * c.scaling
	room := carrierMemory * carrierHeld / (c.user + c.kernel)
	beats := math.Inf(1)
	if c.heartbeat > 0 {
		beats = budget * carrierInterval.Seconds() / c.heartbeat
	}
	x.sessions, x.memory = min(room, beats), room <= beats
	x.beating = carrierSessions * c.heartbeat / carrierInterval.Seconds() / c.scaling
	x.messages = max(0, budget-x.beating*c.scaling) / c.message
	x.handshakes = budget / c.handshake
	if c.secure > 0 {
		x.secure = budget / c.secure
	}
	return x
}

// carries says what a machine of four cores carries.
func (r *Report) carries() section {
	s := section{
		title: "What a 4-core machine carries, computed from the figures above",
		text: []string{fmt.Sprintf("Not measured: computed for 4 cores like those of this machine (%s), of which 70 %% are used, and 16 GiB of memory, of which 12 are for sessions. A ping every 25 seconds. "+
			"Each column has the machine for itself, except messages: they have what the heartbeats of 100,000 sessions leave.", r.Machine.CPU)},
		table: [][]string{{"peer", "idle sessions", "limit", "heartbeats of 100,000 sessions, cores", "beside them: messages/s, in and out", "new sessions/s", "over TLS", "100,000 sessions come back in, s", "over TLS, s"}},
		list: []string{
			"Idle sessions: the smaller of 12 GiB / (bytes of an idle session + bytes of its socket) and B / (CPU of a heartbeat / 25 s). B = 4 cores × 0.7 × scaling.",
			"Messages a second: (B − 100,000 × CPU of a heartbeat / 25 s) / CPU of a message of 128 B that is received and echoed. New sessions a second: B / CPU of a WebSocket handshake.",
			"Scaling is what a second of CPU does with two cores, compared with one, at most 1. That four cores do as well as two is an assumption: nothing here measured four. Node and Bun need a process for each core, and a balancer that keeps polling clients to one.",
			"Loopback has no network card: its interrupts, and the work of an application, come on top. So do queues of clients that read slowly.",
		},
	}
	if r.Million == nil {
		s.list = append(s.list, "Memory of sockets is missing here, since no million of sessions was held: about 5 KB a session come on top.")
	}
	for _, p := range r.Peers {
		c, ok := r.costsOf(p.Name)
		if !ok || p.Limit {
			continue
		}
		x := c.carries()
		row := []string{p.Name + c.marks, rough(x.sessions), "heartbeats", number(x.beating), rough(x.messages), rough(x.handshakes), "–", number(carrierSessions / x.handshakes), "–"}
		if x.memory {
			row[2] = "memory"
		}
		inputs := fmt.Sprintf("%s: message %s µs, heartbeat %s µs, handshake %s µs", p.Name, number(1e6*c.message), number(1e6*c.heartbeat), number(1e6*c.handshake))
		if x.secure > 0 {
			row[6], row[8] = rough(x.secure), number(carrierSessions/x.secure)
			inputs += fmt.Sprintf(", over TLS %s µs", number(1e6*c.secure))
		}
		s.table = append(s.table, row)
		s.list = append(s.list, inputs+fmt.Sprintf(" of CPU; idle session %s bytes, socket %s; scaling %s.", number(c.user), number(c.kernel), number(c.scaling)))
	}
	if len(s.table) == 1 {
		return section{}
	}
	return s
}

// rough is x with two significant digits: what is computed by assumptions has no more.
func rough(x float64) string {
	if x < 1 {
		return number(x)
	}
	scale := math.Pow(10, math.Floor(math.Log10(x))-1)
	return number(math.Round(x/scale) * scale)
}
