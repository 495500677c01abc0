package main

import (
	"fmt"
	"time"

	"github.com/causewayfs/causeway/integration/appender"
	"github.com/causewayfs/causeway/integration/harness"
)

// appendSection measures how many records a second processes append to one
// file, on one gateway and over two.
func appendSection(b *bench) {
	b.page.text("## Appending to one file, at 15 ms\n\nRecords of 100 bytes. A process opens the file, writes a record and closes it, or keeps it open and calls fsync after each; in both cases the record is in S3 before the next one. Linux holds the lock of a file while it waits for fsync, so that the processes of one mount follow each other there; nothing is claimed of that.\n")
	var rows [][]string
	for _, c := range []struct {
		processes, gateways int
		open                bool
		least               float64
	}{
		{1, 1, false, 0}, {8, 1, false, 300}, {64, 1, false, 1500}, {8, 2, false, 100},
		{1, 1, true, 0}, {8, 1, true, 0}, {8, 2, true, 0},
	} {
		how := "open, write, close"
		if c.open {
			how = "write, fsync"
		}
		rate, slowest := appendRate(b, c.processes, c.gateways, c.open)
		rows = append(rows, []string{fmt.Sprint(c.processes), fmt.Sprint(c.gateways), how, fmt.Sprintf("%.0f/s", rate), fmt.Sprintf("%.0f/s", slowest)})
		if c.least > 0 {
			b.page.claim(fmt.Sprintf("%d processes over %d gateways, %s", c.processes, c.gateways, how),
				fmt.Sprintf("%.0f records/s", rate), fmt.Sprintf("at least %.0f", c.least), rate >= c.least)
		}
	}
	b.page.table([]string{"processes", "gateways", "each record", "records", "slowest process"}, rows)
}

// appendRate returns the records a second of all processes, and those of the
// slowest one.
func appendRate(b *bench, processes, gateways int, open bool) (all, slowest float64) {
	defer b.cleanUp()
	limit := 5 * time.Second
	if b.quick {
		limit = 2 * time.Second
	}
	env := harness.New(b, harness.Versity)
	envs := []*harness.Env{env}
	for range gateways - 1 {
		envs = append(envs, env.Peer(b))
	}
	var mounts []*harness.Mount
	for _, e := range envs {
		mounts = append(mounts, e.Mount(b))
		e.Proxy.SetLatency(latency)
	}
	var configs []appender.Config
	for i := range processes {
		configs = append(configs, appender.Config{Path: mounts[i%gateways].Path("log"), ID: i, Records: 1 << 20,
			Min: 75, Max: 75, Open: open, Limit: limit})
	}
	warm := []appender.Config{{Path: mounts[0].Path("log"), ID: processes, Records: 5, Min: 75, Max: 75}}
	results := appender.Run(b, warm)
	time.Sleep(1500 * time.Millisecond) // each gateway finds out who else is there
	measured := appender.Run(b, configs)
	results = append(results, measured...)
	for i, r := range measured {
		done := r.Tried - len(r.Failed)
		rate := float64(done) / r.Took.Seconds()
		all += rate
		if i == 0 || rate < slowest {
			slowest = rate
		}
		if len(r.Failed) > 0 {
			b.Errorf("appender %d: %d failed: %v", r.Config.ID, len(r.Failed), r.Errors)
		}
	}
	appender.Check(b, env.Get(b, "log").Body, results)
	return all, slowest
}
