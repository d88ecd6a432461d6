//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// vanishCommand is a process of clients in a namespace of its own. It waits for
// a line, connects, takes the link down, says what it has done, and holds its
// connections, of which the server hears nothing any more, until its input ends.
type vanishCommand struct {
	Link int    `required:""` // number
	Port string `required:""` // of the server
	Size int    `required:""` // clients
}

// Run prints a tally.
func (v *vanishCommand) Run() error {
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	l := link(v.Link)
	if err := l.joined(); err != nil {
		return err
	}
	scenes := make([]scene, v.Size)
	var mu sync.Mutex
	total := newTally()
	var all sync.WaitGroup
	for i := range scenes {
		all.Go(func() {
			m := moments[i%len(moments)]
			scenes[i] = scene{target: target(net.JoinHostPort(l.nearAddress(), v.Port)), n: i}
			err := m.reach(&scenes[i])
			if err != nil {
				err = fmt.Errorf("%s: %w", m.name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			total.count(outcome{m.name + ", vanished", m.vanished}, err)
		})
	}
	all.Wait()
	total.Most = total.Clients
	if err := ip("link", "set", l.far(), "down"); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(total); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, in)
	return nil
}

// vanishing is that process, as seen from the server's side.
type vanishing struct {
	total tally
	since time.Time // when the link was down
	stop  func()
}

// vanish starts such clients and returns when they have vanished.
func vanish(ctx context.Context, s *server, l link, size int) (v vanishing, err error) {
	cmd := separately(modestly(ctx, "vanish", "--link", fmt.Sprint(int(l)), "--port", s.port, "--size", fmt.Sprint(size)))
	input, err := cmd.StdinPipe()
	if err != nil {
		return v, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return v, err
	}
	if err := cmd.Start(); err != nil {
		return v, err
	}
	v.stop = func() {
		_ = input.Close()
		_ = cmd.Wait()
	}
	err = l.join(cmd.Process.Pid)
	if err == nil {
		_, err = io.WriteString(input, "go\n")
	}
	if err == nil {
		v.total = newTally()
		err = json.NewDecoder(output).Decode(&v.total)
	}
	v.since = time.Now()
	if err != nil {
		v.stop()
		return v, errors.Join(errors.New("the clients that are to vanish failed"), err)
	}
	return v, nil
}
