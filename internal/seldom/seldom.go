// Package seldom keeps what clients can cause at will from filling a log: one
// record a second goes through, and says how many did not.
package seldom

import (
	"sync/atomic"
	"time"
)

// Once lets one record a second through and counts those that it holds back. Its
// zero value is ready. Safe from any goroutine.
type Once struct {
	next atomic.Int64 // when the next record may go
	held atomic.Int64 // since the last one
}

// interval is the least time between two records.
const interval = time.Second

// Allow reports whether a record may go now, and how many were held back since
// the last one. now may count from any moment that stays the same.
func (o *Once) Allow(now time.Duration) (suppressed int64, ok bool) {
	next := o.next.Load()
	if int64(now) < next || !o.next.CompareAndSwap(next, int64(now+interval)) {
		o.held.Add(1)
		return 0, false
	}
	return o.held.Swap(0), true
}
