package engine_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"turbine/engine"
)

// Prices for slow phones. A phone that polls seldom gets the newest price of each
// symbol, in the order in which the symbols first came, and what was traded since it
// polled last: volumes are added up, prices are replaced.
func ExampleSendOptions() {
	opened := make(chan *engine.Session, 1)
	server, err := engine.New(engine.Options{}, engine.Events{
		Open: func(s *engine.Session, _ *engine.Request) { opened <- s },
	})
	url, stop := serve(server, err)
	defer stop()
	url = join(url)
	phone := <-opened

	sum := func(waiting, next engine.Message) engine.Message {
		a, _ := strconv.Atoi(strings.TrimPrefix(string(waiting.Data), "traded "))
		b, _ := strconv.Atoi(strings.TrimPrefix(string(next.Data), "traded "))
		return engine.Message{Data: fmt.Appendf(nil, "traded %d", a+b)}
	}
	for i := range 1000 {
		for symbol, price := range []int{100 + i, 5000 - i} {
			m := engine.Message{Data: fmt.Appendf(nil, "price of %d: %d", symbol, price)}
			_ = phone.SendWith(m, engine.SendOptions{Key: "price " + strconv.Itoa(symbol)})
		}
		_ = phone.SendWith(engine.Message{Data: []byte("traded 2")}, engine.SendOptions{Key: "traded", Merge: sum})
	}
	for _, packet := range strings.Split(fetch(http.Get(url)), "\x1e") {
		fmt.Println(packet)
	}
	phone.CloseNow()
	// Output:
	// 4price of 0: 1099
	// 4price of 1: 4001
	// 4traded 2000
}
