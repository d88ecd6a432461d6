package engine

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// pages are all groups, page by page. between is called behind each page.
func pages(s *Server, prefix string, limit int, between func()) (all []GroupSize) {
	for from, more := "", true; more; {
		var page []GroupSize
		if page, more = s.GroupPage(prefix, from, limit); more {
			from = page[len(page)-1].Name + "\x00"
		}
		all = append(all, page...)
		between()
	}
	return all
}

func TestGroupPages(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{}, nil)
		names := make([]string, 3*sessionsChunk)
		for i := range names {
			names[i] = fmt.Sprint("w", i)
		}
		openMany(b, names...)
		want := []GroupSize{{"", 1}, {"\xff", 1}, {"all", len(names)}, {"half", len(names) / 2}}
		b.sessions[0].Join("")
		b.sessions[1].Join("\xff")
		for i, s := range b.sessions {
			s.Join("all")
			if i%2 == 0 {
				s.Join("half")
			}
			s.Join(fmt.Sprint("own:", i))
			want = append(want, GroupSize{fmt.Sprint("own:", i), 1})
		}
		b.world.Run()
		slices.SortFunc(want, func(a, b GroupSize) int { return slices.Compare([]byte(a.Name), []byte(b.Name)) })
		for _, limit := range []int{1, 3, len(want) - 1, len(want), len(want) + 1, 1000} {
			require.Equal(t, want, pages(b.server, "", limit, func() {}), "limit %d", limit)
		}
		page, more := b.server.GroupPage("own:", "", 1000)
		require.Len(t, page, len(names))
		require.False(t, more)
		page, more = b.server.GroupPage("own:1", "own:17", 2)
		require.Equal(t, []GroupSize{{"own:17", 1}, {"own:170", 1}}, page)
		require.True(t, more)
		for _, limit := range []int{0, -1} {
			page, more = b.server.GroupPage("", "", limit)
			require.Empty(t, page)
			require.False(t, more)
		}
		page, more = b.server.GroupPage("nobody", "", 5)
		require.Empty(t, page)
		require.False(t, more)

		require.True(t, b.sessions[4].InGroup("half"))
		require.False(t, b.sessions[5].InGroup("half"))
		require.False(t, b.sessions[5].InGroup("own:4"))
		b.sessions[4].Leave("half")
		b.world.Run()
		require.False(t, b.sessions[4].InGroup("half"))
		b.sessions[4].CloseNow()
		b.world.Run()
		require.True(t, b.sessions[4].InGroup("all"), "as Groups says behind the end")
		b.server.CloseSessions()
		b.world.Run()
		require.Empty(t, pages(b.server, "", 10, func() {}))
		b.finish()
	})
}

// Groups that last are met once while others come and go.
func TestGroupPagesWhileGroupsChange(t *testing.T) {
	b := newBench(t, 2, Options{})
	var sessions []*Session
	for i := range 20 {
		b.play(hsPolling)
		sessions = append(sessions, b.session(letters(i)))
	}
	for i := range 400 {
		sessions[i%20].Join(fmt.Sprintf("lasts:%03d", i))
		sessions[i%20].Join(fmt.Sprintf("leaves:%03d", i))
	}
	b.world.Run()
	round, seen := 0, map[string]int{}
	for _, g := range pages(b.server, "", 10, func() {
		for i := range 20 {
			sessions[i].Leave(fmt.Sprintf("leaves:%03d", (round*20+i)%400))
			sessions[i].Join(fmt.Sprintf("comes:%d:%d", round, i))
		}
		round++
		b.world.Run()
	}) {
		seen[g.Name]++
		require.Equal(t, 1, seen[g.Name])
	}
	for i := range 400 {
		require.Equal(t, 1, seen[fmt.Sprintf("lasts:%03d", i)])
	}
	b.server.CloseSessions()
	b.world.Run()
	for i := range 20 {
		b.play("get sid=" + letters(i))
	}
	b.finish()
}

// A page keeps few names, however many groups there are.
func TestFirstNames(t *testing.T) {
	first := firstNames{limit: 10}
	for i := 10_000; i > 0; i-- { // the worst order
		first.add(fmt.Sprintf("%05d", i))
		first.trim()
		require.LessOrEqual(t, len(first.names), 20)
	}
	require.Equal(t, []string{"00001", "00002", "00003", "00004", "00005", "00006", "00007", "00008", "00009", "00010"}, first.sorted())
}
