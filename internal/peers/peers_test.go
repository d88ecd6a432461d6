package peers

import (
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestKeyOf(t *testing.T) {
	key := func(s string) Key { return KeyOf(netip.MustParseAddr(s)) }
	for _, same := range [][2]string{
		{"198.51.100.7", "::ffff:198.51.100.7"},
		{"198.51.100.7", "2002:c633:6407::1"},
		{"198.51.100.7", "2002:c633:6407:1::1"},
		{"198.51.100.7", "2002:c633:6407:ffff:ffff:ffff:ffff:ffff"},
		{"198.51.100.7", "64:ff9b::198.51.100.7"},
		{"198.51.100.7", "64:ff9b:1::198.51.100.7"},
		{"198.51.100.7", "64:ff9b:1:abcd::198.51.100.7"},
		{"198.51.100.7", "2001:0:4136:e378:8000:63bf:39cc:9bf8"},
		{"198.51.100.7", "2001:0:5ef5:79fb:0:59:39cc:9bf8"},
		{"64:ff9b:1:c633:64:700::", "64:ff9b:1:c633:64:800::"},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"},
		{"fe80::1%eth0", "fe80::2"},
	} {
		require.Equal(t, key(same[0]), key(same[1]), "%v", same)
	}
	seen := map[Key]string{}
	for _, a := range []string{
		"198.51.100.7", "198.51.100.8", "0.0.0.0", "255.255.255.255", "::", "::1:0:0:0:0", "0:0:c633:6407::",
		"2001:db8:1:2::1", "2001:db8:1:3::1", "2001:db8:2:2::1", "fe80::1",
		// Each is one bit or group away from a prefix that an IPv4 address is in.
		"2002:c633:6409::1", "2003:c633:6407::1", "64:ff9b::198.51.100.10", "65:ff9b::198.51.100.7", "64:ff9b:0:1::198.51.100.7",
		"64:ff9b:2::198.51.100.7", "64:ff9b:1:c633:64:700::", "64:ff9b:1:c634:64:700::",
		"2001:0:4136:e378:8000:63bf:39cc:9bf2", "2001:1:4136:e378:8000:63bf:39cc:9bf8",
	} {
		require.Empty(t, seen[key(a)], a)
		seen[key(a)] = a
	}
}

func TestSharedNetworks(t *testing.T) {
	for _, a := range []string{
		"127.0.0.1", "127.255.0.1", "::1", "::ffff:127.0.0.1", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"169.254.1.1", "100.64.0.1", "100.127.255.255", "fd00::1", "fe80::1%eth0", "febf::1",
	} {
		require.True(t, Shared().Contain(netip.MustParseAddr(a)), a)
	}
	for _, a := range []string{
		"128.0.0.1", "172.15.255.255", "172.32.0.0", "192.169.0.1", "100.63.255.255", "100.128.0.0", "8.8.8.8",
		"::", "::2", "fec0::1", "2001:db8::1", "::ffff:8.8.8.8",
		// Anybody could have an address that holds an exempt one.
		"2002:7f00:1::1", "2002:a00:1::1", "64:ff9b::10.0.0.1", "64:ff9b:1::192.168.1.1", "2001:0:4136:e378:8000:63bf:80ff:fffe",
	} {
		require.False(t, Shared().Contain(netip.MustParseAddr(a)), a)
	}
	require.True(t, Networks{}.Contain(netip.Addr{}), "a Unix socket")
	require.False(t, Networks{}.Contain(netip.MustParseAddr("127.0.0.1")))
}

func TestCounts(t *testing.T) {
	c := NewCounts(2)
	a, b := Key(1), Key(2)
	add := func(k Key) bool {
		held, ok := c.Add(k)
		require.Equal(t, ok, held)
		return ok
	}
	require.True(t, add(a))
	require.True(t, add(a))
	require.False(t, add(a))
	require.True(t, add(b), "another peer")
	c.Remove(a)
	require.True(t, add(a), "room again")
	require.False(t, add(a))
	for range 2 {
		c.Remove(a)
	}
	require.Equal(t, 1, c.Len())
	c.Remove(b)
	require.Zero(t, c.Len(), "who holds nothing has no entry")
}

// A negative limit is none: nobody is counted.
func TestNegativeLimitsAreNone(t *testing.T) {
	c, r := NewCounts(-1), NewRates(-1)
	for range 1000 {
		held, ok := c.Add(1)
		require.True(t, ok)
		require.False(t, held)
		wait, ok := r.Take(1, 0)
		require.True(t, ok)
		require.Zero(t, wait)
	}
	require.False(t, c.Full(1))
	require.Zero(t, c.Len())
	require.Zero(t, r.Len())
}

// A limit that changes is held at once. What a peer holds stays counted, and what it
// has got without a limit is never counted.
func TestCountsThatChange(t *testing.T) {
	const peer = Key(1)
	c := NewCounts(3)
	counted := 0
	for _, step := range []struct {
		limit    int
		adds     int // that are let in
		counted  int // of these
		removes  int // after that
		fullThen bool
	}{
		{3, 3, 3, 0, true},
		{5, 2, 2, 0, true},
		{2, 0, 0, 3, true},
		{2, 0, 0, 1, false},
		{-1, 100, 0, 0, false},
		{0, 0, 0, 0, true},
		{3, 2, 2, 3, false},
		{-1, 100, 0, 0, false},
		{2, 2, 2, 2, false},
	} {
		c.Set(step.limit)
		adds, held := 0, 0
		for range 100 {
			counts, ok := c.Add(peer)
			if ok {
				adds++
			}
			if counts {
				held++
			}
		}
		require.Equal(t, step.adds, adds, "%+v", step)
		require.Equal(t, step.counted, held, "%+v", step)
		counted += held - step.removes
		for range step.removes {
			c.Remove(peer)
		}
		require.Equal(t, step.fullThen, c.Full(peer), "%+v", step)
	}
	require.Zero(t, counted)
	require.Zero(t, c.Len())
}

// What a crowd took comes back when it has gone.
func TestCountsGiveMemoryBack(t *testing.T) {
	c := NewCounts(1)
	const crowd = 200_000
	before := heap()
	for k := range Key(crowd) {
		_, ok := c.Add(k)
		require.True(t, ok)
	}
	full := heap() - before
	require.Greater(t, full, int64(crowd)*16)
	require.Less(t, full, int64(crowd)*64, "bytes a peer")
	for k := range Key(crowd) {
		c.Remove(k)
	}
	require.Less(t, heap()-before, full/10)
	require.Zero(t, c.Len())
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestRates(t *testing.T) {
	r := NewRates(4) // a token each 250 ms, 40 at once
	now := time.Hour
	take := func(k Key) time.Duration {
		wait, ok := r.Take(k, now)
		require.Equal(t, wait <= 0, ok)
		return max(wait, 0)
	}
	for i := range 40 {
		require.Zero(t, take(1), "%d", i)
	}
	require.Equal(t, 250*time.Millisecond, take(1))
	require.Equal(t, 250*time.Millisecond, take(1), "asking costs nothing")
	require.Zero(t, take(2), "another peer")
	now += 249 * time.Millisecond
	require.Equal(t, time.Millisecond, take(1))
	now += time.Millisecond
	require.Zero(t, take(1))
	require.Equal(t, 250*time.Millisecond, take(1))

	// Half of what was used up has come back after half of the time, through
	// all changes of generation.
	for range 20 {
		now += 5 * time.Second
		for range 20 {
			require.Zero(t, take(1))
		}
		require.Equal(t, 250*time.Millisecond, take(1))
	}
	now += Burst
	for range 40 {
		require.Zero(t, take(1), "who was quiet has all")
	}
	require.Equal(t, 250*time.Millisecond, take(1))
}

// A rate that changes is held at once. What a peer has used up stays used up, and
// while there is no limit nobody is counted.
func TestRatesThatChange(t *testing.T) {
	r := NewRates(4)
	now := time.Hour
	took := func(k Key) (n int) {
		for n < 1000 {
			if _, ok := r.Take(k, now); !ok {
				return n
			}
			n++
		}
		return n
	}
	require.Equal(t, 40, took(1))
	r.Set(1)
	require.Zero(t, took(1))
	require.Equal(t, 10, took(2))
	now += 5 * time.Second
	require.Equal(t, 5, took(1))
	r.Set(8)
	now += 5 * time.Second
	require.Equal(t, 40, took(1))
	r.Set(-1)
	entries := r.Len()
	require.Equal(t, 1000, took(1))
	require.Equal(t, 1000, took(3))
	require.Equal(t, entries, r.Len())
	r.Set(1)
	require.Zero(t, took(1))
	require.Equal(t, 10, took(3))
}

// A quiet peer has no entry, and no number of peers makes the table grow
// without bound.
func TestRatesForget(t *testing.T) {
	r := NewRates(1)
	for k := range Key(1000) {
		r.Take(k, 0)
	}
	require.Equal(t, 1000, r.Len())
	for later, first := range []Key{1_000_000, 2_000_000, 3_000_000} {
		for k := range Key(1000) {
			r.Take(first+k, time.Duration(1+later)*time.Hour)
		}
		require.Equal(t, 2000, r.Len(), "two generations")
	}

	for k := range Key(1_000_000) {
		r.Take(k, 4*time.Hour)
	}
	require.LessOrEqual(t, r.Len(), maxEntries)
	require.Greater(t, r.Len(), maxEntries/4)
	require.Less(t, heap(), int64(maxEntries)*64+8<<20)
	runtime.KeepAlive(r)
}

// Neither counts nor tokens are lost when many come at once.
func TestManyGoroutines(t *testing.T) {
	c, r := NewCounts(1000), NewRates(100)
	var wait sync.WaitGroup
	var mu sync.Mutex
	held, tokens := 0, 0
	for range 8 {
		wait.Go(func() {
			for range 1000 {
				added, _ := c.Add(7)
				_, ok := r.Take(7, time.Second)
				mu.Lock()
				if added {
					held++
				}
				if ok {
					tokens++
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	require.Equal(t, 1000, held)
	require.Equal(t, 1000, tokens)
	for range 1000 {
		c.Remove(7)
	}
	require.Zero(t, c.Len())
}

func TestNoAllocation(t *testing.T) {
	c, r := NewCounts(1000), NewRates(1_000_000)
	networks := Shared()
	address := netip.MustParseAddr("203.0.113.9")
	c.Add(KeyOf(address))
	r.Take(KeyOf(address), 1)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if networks.Contain(address) {
			t.Fatal("not shared")
		}
		k := KeyOf(address)
		c.Add(k)
		r.Take(k, 2)
		c.Remove(k)
	}))
}
