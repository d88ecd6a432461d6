package engine

import (
	"runtime"
	"slices"
	"strings"
)

// A GroupSize is a group, and how many members it has.
type GroupSize struct {
	Name    string
	Members int // 0: the group has just ended
}

// GroupPage returns the first groups, at most limit, of those whose names begin with
// prefix and are not before from, in the order of their names' bytes; and whether there
// are more. The next page is from the name behind the last one:
//
//	for from, more := "", true; more; {
//		var page []engine.GroupSize
//		page, more = server.GroupPage("room:", from, 100)
//		show(page)
//		if more {
//			from = page[len(page)-1].Name + "\x00"
//		}
//	}
//
// A group that has members from the first page to the last one is on one of them. Each
// page looks at all groups, some at a time, while the loops continue, and keeps little
// more than twice limit of their names. Safe from any goroutine.
func (s *Server) GroupPage(prefix, from string, limit int) (page []GroupSize, more bool) {
	if limit <= 0 {
		return nil, false
	}
	first := firstNames{limit: limit + 1} // with one that says that there are more
	for _, shard := range s.allShards() {
		shard.eachGroup(func(g *group) {
			if g.name >= from && strings.HasPrefix(g.name, prefix) && g.size() > 0 {
				first.add(g.name)
			}
		}, func() {
			shard.groupsMu.Unlock() // the loop does not wait for a sort
			defer shard.groupsMu.Lock()
			first.trim()
			runtime.Gosched() // nor for a processor
		})
	}
	names := first.sorted()
	if more = len(names) > limit; more {
		names = names[:limit]
	}
	for _, name := range names {
		page = append(page, GroupSize{Name: name, Members: s.Count(name)})
	}
	return page, more
}

// firstNames keeps the first of all names that are added to it.
type firstNames struct {
	limit int
	names []string // little more than twice limit
	last  string   // names behind it are not wanted any more; "" while all are
}

func (f *firstNames) add(name string) {
	if f.last == "" || name < f.last {
		f.names = append(f.names, name)
	}
}

// trim forgets names that are not among the first, once they are many.
func (f *firstNames) trim() {
	if len(f.names) >= 2*f.limit {
		f.sorted()
	}
}

// sorted are the first names, each once, whatever loops have a part of the group.
func (f *firstNames) sorted() []string {
	slices.Sort(f.names)
	f.names = slices.Compact(f.names)
	if len(f.names) >= f.limit {
		clear(f.names[f.limit:])
		f.names = f.names[:f.limit]
		f.last = f.names[f.limit-1]
	}
	return f.names
}
