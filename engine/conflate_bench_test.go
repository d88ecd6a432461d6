package engine

import (
	"fmt"
	"testing"
)

// BenchmarkSlowReaders publishes updates of 100 keys to 1,000 clients that do not
// poll, in memory: what an update costs for each of them, and how much each has
// waiting in the end.
func BenchmarkSlowReaders(b *testing.B) {
	const readers, keys = 1000, 100
	for name, keyed := range map[string]bool{"each message": false, "newest of each key": true} {
		b.Run(name, func(b *testing.B) {
			e := newEchoWith(b, 1, Options{Queue: Queue{MaxBytes: 1 << 30, MaxPackets: 1 << 30, Budget: 1 << 40}})
			defer e.world.Close()
			peer := e.world.Dial()
			for range readers {
				e.polling(peer)
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				p := prepared(Message{Data: fmt.Appendf(nil, `{"symbol":%d,"price":%d}`, n%keys, n)})
				if keyed {
					p = p.With(SendOptions{Key: fmt.Sprint(n % keys)})
				}
				_ = e.server.Broadcast(p)
				e.world.Run()
				n++
			}
			var waiting int
			for s := range e.server.Sessions() {
				waiting += s.Buffered()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*readers), "ns/client")
			b.ReportMetric(float64(waiting)/readers, "B-waiting/client")
			b.ReportMetric(float64(e.server.Stats().Queued)/readers, "B-of-budget/client")
		})
	}
}
