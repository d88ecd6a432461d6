package peers

import (
	"net/netip"
	"testing"
	"time"
)

// What the limits by address add to a connection, from accept to end.
func BenchmarkConnection(b *testing.B) {
	c, r := NewCounts(1000), NewRates(1_000_000)
	networks := Shared()
	b.ReportAllocs()
	var a [4]byte
	for i := 0; b.Loop(); i++ {
		a = [4]byte{198, 51, byte(i >> 8), byte(i)}
		address := netip.AddrFrom4(a)
		if networks.Contain(address) {
			b.Fatal("not shared")
		}
		k := KeyOf(address)
		c.Add(k)
		r.Take(k, time.Duration(i)*time.Microsecond)
		c.Remove(KeyOf(address))
	}
}
