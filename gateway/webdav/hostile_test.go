package webdav

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// A body that stops coming is given up, and changes nothing; others are
// answered meanwhile.
func TestSlowBodies(t *testing.T) {
	w := newWorld(t, nil, func(c *Config) { c.BodyIdle = 300 * time.Millisecond })
	w.want(201, "PUT /f", "whole")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			fmt.Fprint(conn, "PUT /f HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nslow")
			// It ends without our doing anything.
			if _, err := io.ReadAll(conn); err != nil {
				t.Errorf("a slow body was not given up: %v", err)
			}
		})
	}
	w.holds("/f", "whole")
	wg.Wait()
	w.holds("/f", "whole")
}
