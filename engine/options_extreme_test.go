package engine

import (
	"errors"
	"log/slog"
	"math"
	"net/http"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Every number and time of Options is refused or honoured, however large or small
// it is: with the largest that New takes, clients are served as ever, and no New
// panics.
func TestExtremeOptions(t *testing.T) {
	for name, index := range optionFields() {
		switch reflect.TypeFor[Options]().FieldByIndex(index).Type.Kind() {
		case reflect.Int, reflect.Int64:
		default:
			continue
		}
		t.Run(name, func(t *testing.T) {
			with := func(value int64) Options {
				o := Options{Fallback: http.NotFoundHandler()}
				reflect.ValueOf(&o).Elem().FieldByIndex(index).SetInt(value)
				return o
			}
			taken := func(value int64) bool {
				_, err := New(with(value), Events{})
				require.True(t, err == nil || errors.Is(err, ErrOptions), "%d: %v", value, err)
				return err == nil
			}
			for _, extreme := range []int64{math.MaxInt64, math.MaxInt64 - 1, math.MaxInt64 / 2, math.MinInt64, math.MinInt64 + 1} {
				if taken(extreme) {
					isServed(t, with(extreme))
				}
			}
			least, most := int64(1), int64(math.MaxInt64) // taken, and perhaps not
			for !taken(least) {
				least *= 2
			}
			for least+1 < most {
				if middle := least + (most-least)/2; taken(middle) {
					least = middle
				} else {
					most = middle
				}
			}
			isServed(t, with(least))
		})
	}
}

// isServed checks that clients are served on several loops with these options,
// with an Executor and without.
func isServed(t *testing.T, o Options) {
	t.Helper()
	isServedBy(t, o)
	o.Executor = new(byHand)
	isServedBy(t, o)
}

// isServedBy checks admission that takes a while, waiting polls, an upgrade, a
// heartbeat, and a request outside the engine.
func isServedBy(t *testing.T, o Options) {
	t.Helper()
	loops := 2
	if o.Loops != 0 {
		loops, o.Loops = 1, 0
	}
	o.Logger = slog.New(slog.DiscardHandler)
	b := newSpec(t, loops, o, func(_ *bench, e *Events) {
		e.Admit = func(a *Admission) error {
			v := a.Later()
			onGoroutine(v.Accept)
			return nil
		}
	})
	b.echo = true
	for _, sid := range []string{"A", "B"} {
		require.Regexp(t, "^200 ", b.play(hsPolling)[0], "%+v", o)
		require.Empty(t, b.play("get sid="+sid+" conn=p"+sid))
		require.Contains(t, b.play("post sid="+sid+" 4hello"), "p"+sid+": 200 4hello")
	}
	b.play("ws sid=A conn=u", "frame u text 2probe")
	b.play("frame u text 5")
	require.True(t, b.session("A").Upgraded(), "%+v", o)
	b.play("advance " + time.Millisecond.String())
	require.NotNil(t, b.session("B"))
	require.Equal(t, []string{`u: text "4again"`}, b.play("frame u text 4again"))
	lines := b.play("get path=/page conn=f")
	for len(lines) == 0 { // a goroutine of net/http answers
		runtime.Gosched()
		lines = b.collect()
	}
	require.Equal(t, []string{"f: 404 404 page not found\\x0a"}, lines)
	b.play("close f")
	require.Zero(t, b.server.Stats().Limits)
	b.play("post sid=B 1") // both end by their clients, so no time has to pass
	b.client("u", "").peer.CloseWrite()
	b.work()
	b.options.Timeouts.Close = min(b.options.Timeouts.Close, time.Minute)
	b.finish()
}
