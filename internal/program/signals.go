package program

import (
	"os"
	"os/signal"
	"syscall"
)

// askSignals are the signals that ask for something other than the end. By
// default each of them ends a process at once; the program hears them from its
// first line to its last, so none ever does. One that comes before its turn waits,
// one that comes after it is lost.
type askSignals struct {
	reload  chan os.Signal // SIGHUP
	figures chan os.Signal // SIGUSR1
	replace chan os.Signal // SIGUSR2
}

func hearSignals() askSignals {
	s := askSignals{make(chan os.Signal, 1), make(chan os.Signal, 1), make(chan os.Signal, 1)}
	signal.Notify(s.reload, syscall.SIGHUP)
	signal.Notify(s.figures, syscall.SIGUSR1)
	signal.Notify(s.replace, syscall.SIGUSR2)
	signal.Ignore(syscall.SIGPIPE) // a collector of logs that ends must not end the server
	return s
}
