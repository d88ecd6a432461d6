package engine

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A moody is an Executor that takes tasks and drops them, refuses them, keeps them
// until a test runs them, or runs them when the bench rests.
type moody struct {
	byHand
	mood string
	kept []func()
}

func (m *moody) Submit(task func()) error {
	switch m.mood {
	case "drops":
		return nil
	case "refuses":
		return errors.New("closed")
	case "is late":
		m.kept = append(m.kept, task)
		return nil
	}
	return m.byHand.Submit(task)
}

// newMoody is a bench with a moody Executor, whose server's own goroutines take
// their turn with its tasks, and what the server has the clock ring for.
func newMoody(t *testing.T, log *warnings) (b *bench, m *moody, ring func() int) {
	m = new(moody)
	b = newSpec(t, 1, Options{Executor: m, Logger: slog.New(log)}, func(_ *bench, e *Events) { e.Admit = nil })
	b.held, b.hand = true, &m.byHand
	var alarms []func()
	b.server.dispatch.spawn = func(task func()) { m.tasks = append(m.tasks, task) }
	b.server.dispatch.after = func(d time.Duration, f func()) {
		require.Equal(t, taskPatience, d)
		alarms = append(alarms, f)
	}
	return b, m, func() int {
		due := alarms
		alarms = nil
		for _, f := range due {
			f()
		}
		b.rest()
		return len(due)
	}
}

// An Executor that takes a task, drops it and then refuses, or drops all tasks, is
// logged once, and callbacks continue without it.
func TestExecutorDropsTasks(t *testing.T) {
	for _, then := range []string{"refuses", "drops"} {
		t.Run("then "+then, func(t *testing.T) {
			log := new(warnings)
			b, m, ring := newMoody(t, log)
			b.play("ws EIO=4&transport=websocket conn=a", "ws EIO=4&transport=websocket conn=b")
			b.rest()
			ring()
			require.Equal(t, "open A; open B", b.events())
			require.Empty(t, log.take())

			m.mood = "drops"
			b.play("frame a text 4one")
			m.mood = then
			b.play("frame b text 4two", "frame a text 4three")
			b.rest()
			require.Empty(t, b.events(), "nobody knows yet")
			require.Equal(t, 1, ring())
			require.Equal(t, `message A "one"; message A "three"; message B "two"`, b.events())
			told := strings.Join(log.take(), "")
			require.Equal(t, 1, strings.Count(told, "the executor has taken tasks and begun none"), told)

			// It needs no more patience while it does not do better.
			b.play("frame a text 4four", "frame b text 4five")
			b.rest()
			require.Equal(t, `message A "four"; message B "five"`, b.events())

			// As soon as it runs a task it is asked alone again.
			m.mood = ""
			b.play("frame a text 4six")
			b.rest()
			require.Equal(t, `message A "six"`, b.events())
			require.False(t, b.server.dispatch.distrusted)
			m.mood = "drops"
			b.play("frame b text 4seven")
			b.rest()
			require.Empty(t, b.events())
			for b.events() == "" {
				require.Equal(t, 1, ring())
			}
			m.mood = ""
			b.play("close a", "close b")
			b.rest()
			ring()
			require.Zero(t, b.server.dispatch.workers)
			b.finish()
		})
	}
}

// An Executor that is late is logged, and its tasks do no harm when they come.
func TestExecutorIsLate(t *testing.T) {
	log := new(warnings)
	b, m, ring := newMoody(t, log)
	m.mood = "is late"
	b.play("ws EIO=4&transport=websocket conn=a", "frame a text 4one")
	require.Empty(t, b.events())
	require.Equal(t, 1, ring())
	require.Equal(t, `open A; message A "one"`, b.events())
	b.play("frame a text 4two")
	b.rest()
	require.Equal(t, `message A "two"`, b.events())
	require.NotEmpty(t, m.kept)
	for _, task := range m.kept {
		task()
	}
	m.mood, m.kept = "", nil
	b.play("frame a text 4three")
	b.rest()
	require.Equal(t, `message A "three"`, b.events())
	require.Zero(t, b.server.dispatch.workers)
	b.finish()
}

// Callbacks that take long are no tasks that were lost, nor is an Executor that
// begins one after another late.
func TestExecutorIsBusy(t *testing.T) {
	log := new(warnings)
	b, m, ring := newMoody(t, log)
	b.play("ws EIO=4&transport=websocket conn=a", "ws EIO=4&transport=websocket conn=b")
	b.rest()
	b.log = nil
	rang := 0
	b.on = func(event, name string) {
		if event == "message" && name == "A" {
			m.mood = "drops"
			b.server.dispatch.look(b.server.dispatch.begun) // b waits, a's callback runs
			rang++
		}
	}
	b.play("frame a text 4one", "frame b text 4two")
	b.rest()
	require.Equal(t, 1, rang)
	require.Equal(t, `message A "one"; message B "two"`, b.events())
	ring()
	m.mood = ""
	b.play("frame a text 4one")
	b.on = nil
	require.True(t, b.hand.step(), "a worker has come and gone since the roster was watched")
	m.mood = "is late"
	b.play("frame b text 4two")
	require.Equal(t, 1, ring())
	require.Empty(t, log.take())
	require.False(t, b.server.dispatch.distrusted)
	m.kept[0]()
	b.rest()
	require.Equal(t, `message A "one"; message B "two"`, b.events())

	m.mood = "refuses" // a goroutine of the server's own has come and gone
	ring()
	b.play("frame a text 4one")
	b.rest()
	m.mood, m.kept = "is late", nil
	b.play("frame b text 4two")
	require.Equal(t, 1, ring())
	require.False(t, b.server.dispatch.distrusted)
	m.kept[0]()
	m.mood = ""
	require.Equal(t, `message A "one"; message B "two"`, b.events())
	require.Contains(t, strings.Join(log.take(), ""), "refuses to work")
	ring()
	b.finish()
}
