package loop

import "time"

// complaints keeps a hostile peer from filling the log: it lets one record a
// second through and counts the others.
type complaints struct {
	next   time.Duration // when the next record may go
	unsaid int
}

// allow reports whether a record may be written now, and how many were
// swallowed since the one before.
func (c *complaints) allow(now time.Duration) (unsaid int, ok bool) {
	if now < c.next {
		c.unsaid++
		return 0, false
	}
	unsaid = c.unsaid
	c.next, c.unsaid = now+time.Second, 0
	return unsaid, true
}
