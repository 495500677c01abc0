//go:build integration

package integration

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/causewayfs/causeway/integration/appender"
	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/s3proxy"
)

// appendRecords is how many records each process of a test appends to a log,
// and to how many logs, one after the other: what S3 copies for each commit
// grows with a log.
func appendRecords() (records, logs int) {
	if harness.Long() {
		return 125, 8
	}
	return 30, 1
}

// appenders are the processes of a test, half of them on each mount; half of
// those keep the file open.
func appenders(log string, mounts []*harness.Mount, first, n, records, largest int) []appender.Config {
	var all []appender.Config
	for i := range n {
		all = append(all, appender.Config{Path: mounts[i%len(mounts)].Path(log), ID: first + i, Records: records,
			Min: 70, Max: largest, Open: i/len(mounts)%2 == 1})
	}
	return all
}

// appendFaults are what the proxies do to a fifth of the requests for the log.
func appendFaults() []s3proxy.Fault {
	return []s3proxy.Fault{
		{Kind: s3proxy.SlowDown, Key: "log", Probability: 0.05},
		{Kind: s3proxy.ResetBefore, Key: "log", Probability: 0.05},
		{Kind: s3proxy.ResetAfter, Key: "log", Probability: 0.05},
		{Kind: s3proxy.Truncate, Key: "log", Probability: 0.04},
		{Kind: s3proxy.StallAfter, Key: "log", Probability: 0.01, Stall: 300 * time.Millisecond},
	}
}

// wantLog wants S3 and the mounts to show the same log, with all that the
// results say is in it.
func wantLog(t *testing.T, env *harness.Env, log string, mounts []*harness.Mount, results []appender.Result) {
	t.Helper()
	o := env.Get(t, log)
	if o == nil {
		t.Fatal("there is no log")
	}
	n := appender.Check(t, o.Body, results)
	failed, tried := 0, 0
	for _, r := range results {
		failed, tried = failed+len(r.Failed), tried+r.Tried
		if len(r.Errors) > 0 {
			t.Logf("process %d: %d of %d failed: %v", r.Config.ID, len(r.Failed), r.Tried, r.Errors)
		}
	}
	t.Logf("%d records tried, %d not acknowledged, %d there, in %d bytes", tried, failed, n, o.Size)
	for _, m := range mounts {
		sameFile(t, m.Path(log), o.Body)
		if info, err := os.Stat(m.Path(log)); err != nil || info.Size() != o.Size {
			t.Errorf("size on %s: %v, %v, want %d", m.Dir, info, err, o.Size)
		}
	}
}

// noUploads wants no multipart upload to be left; those that were given up are
// dropped in the background.
func noUploads(t *testing.T, env *harness.Env) {
	t.Helper()
	eventually(t, 10*time.Second, func() error {
		left, err := env.Client().ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &env.Bucket})
		if err == nil && len(left.Uploads) > 0 {
			err = fmt.Errorf("%d uploads left", len(left.Uploads))
		}
		return err
	})
}

// TestAppend lets 16 processes on two gateways append records of 100 bytes to
// 70 KiB to one file: each acknowledged record is there once, whole, and in the
// order of its process.
func TestAppend(t *testing.T) {
	onBoth(t, func(t *testing.T, env *harness.Env) {
		a, b := pair(t, env)
		mounts := []*harness.Mount{a, b}
		records, logs := appendRecords()
		for i := range logs {
			log := fmt.Sprint("log", i)
			results := appender.Run(t, appenders(log, mounts, 0, 16, records, 70<<10))
			for _, r := range results {
				if len(r.Failed) > 0 {
					t.Errorf("process %d: %d failed: %v", r.Config.ID, len(r.Failed), r.Errors)
				}
			}
			wantLog(t, env, log, mounts, results)
		}
	})
}

// TestAppendFaults is the same while a fifth of the requests fail.
func TestAppendFaults(t *testing.T) {
	onBoth(t, func(t *testing.T, env *harness.Env) {
		peer := env.Peer(t)
		mounts := []*harness.Mount{env.Mount(t), peer.Mount(t)}
		records, logs := appendRecords()
		for i := range logs {
			log := fmt.Sprint("log", i)
			env.Proxy.SetFaults(uint64(2*i+1), appendFaults()...)
			peer.Proxy.SetFaults(uint64(2*i+2), appendFaults()...)
			results := appender.Run(t, appenders(log, mounts, 0, 16, records, 70<<10))
			env.Proxy.SetFaults(1)
			peer.Proxy.SetFaults(2)
			wantLog(t, env, log, mounts, results)
		}
	})
}

// TestAppendKills kills one of the gateways again and again, with faults on.
// What it had acknowledged is there once, and the other one does not notice.
func TestAppendKills(t *testing.T) {
	env := harness.New(t, harness.Versity)
	peer := env.Peer(t)
	a, b := env.Mount(t), peer.Mount(t)
	write(t, a.Path("log"), "")
	env.Proxy.SetFaults(3, appendFaults()...)
	peer.Proxy.SetFaults(4, appendFaults()...)
	kills := 3
	if harness.Long() {
		kills = 20
	}
	var results []appender.Result
	var steady sync.WaitGroup
	var fromA []appender.Result
	steady.Go(func() {
		records, _ := appendRecords()
		fromA = appender.Run(t, appenders("log", []*harness.Mount{a}, 0, 8, records, 70<<10))
	})
	for k := range kills {
		if k > 0 {
			b.Start()
		}
		var running []*appender.Process
		for _, c := range appenders("log", []*harness.Mount{b}, 100+8*k, 8, 100_000, 70<<10) {
			c.Exists = true
			p := appender.Start(t, c)
			p.Go()
			running = append(running, p)
		}
		time.Sleep(time.Duration(700+300*k) * time.Millisecond)
		b.Kill9()
		for _, p := range running {
			results = append(results, p.Wait())
		}
	}
	steady.Wait()
	results = append(results, fromA...)
	env.Proxy.SetFaults(3)
	peer.Proxy.SetFaults(4)
	b.Start() // what a killed gateway left is given back
	visible(t, b.Path("log"))
	b.Restart()
	acked := 0
	for _, r := range results {
		acked += r.Tried - len(r.Failed)
	}
	if acked == 0 {
		t.Error("nothing was acknowledged")
	}
	wantLog(t, env, "log", []*harness.Mount{a, b}, results)
}

// TestAppendLargeRecords appends records of several requests each, to a file
// that S3 soon copies.
func TestAppendLargeRecords(t *testing.T) {
	env := harness.New(t, harness.Versity)
	a, b := pair(t, env)
	mounts := []*harness.Mount{a, b}
	results := appender.Run(t, appenders("log", mounts, 0, 8, 3, 3<<20))
	for _, r := range results {
		if len(r.Failed) > 0 {
			t.Errorf("process %d: %d failed: %v", r.Config.ID, len(r.Failed), r.Errors)
		}
	}
	wantLog(t, env, "log", mounts, results)
	noUploads(t, env)
}

// TestAppendOffsets looks at what a process sees of a file that another mount
// appends to as well.
func TestAppendOffsets(t *testing.T) {
	env := harness.New(t, harness.Versity)
	a, b := pair(t, env)
	write(t, a.Path("log"), "base\n")
	visible(t, b.Path("log"))
	f, err := os.OpenFile(a.Path("log"), os.O_RDWR|os.O_APPEND, 0)
	must(t, err)
	defer f.Close()
	want := "base\n"
	for i := range 10 {
		theirs, mine := fmt.Sprintf("theirs %d\n", i), fmt.Sprintf("mine %d\n", i)
		_, err = f.WriteString(mine)
		must(t, err)
		g, err := os.OpenFile(b.Path("log"), os.O_WRONLY|os.O_APPEND, 0)
		must(t, err)
		_, err = g.WriteString(theirs)
		must(t, err)
		must(t, g.Close())
		must(t, f.Sync())
		want += theirs + mine
		info, err := f.Stat()
		must(t, err)
		end, err := f.Seek(0, 2)
		must(t, err)
		if info.Size() != int64(len(want)) || end != info.Size() {
			t.Fatalf("round %d: size %d, end %d, want %d", i, info.Size(), end, len(want))
		}
		eventually(t, 5*time.Second, func() error {
			got := make([]byte, len(want)+10)
			n, _ := f.ReadAt(got, 0)
			if string(got[:n]) != want {
				return fmt.Errorf("round %d: the handle reads %q, want %q", i, got[:n], want)
			}
			return nil
		})
	}
	read(t, b.Path("log"), want)
}
