package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/causewayfs/causeway/integration/harness"
)

// latency is what the proxies add where a figure is said to be at 15 ms.
const latency = 15 * time.Millisecond

// smallBody is a file of the usual size.
var smallBody = bytes.Repeat([]byte("causeway"), 320) // 2.5 KiB

// writers is how many work at once where many do.
const writers = 64

// rig is a mount to save files in.
type rig struct {
	name string
	m    *harness.Mount
	dirs []string // one for each writer
	next int      // makes names unique

	saves    []time.Duration
	one, all []float64 // files a second, by round
}

// newRig mounts env with the latency and makes the directories.
func newRig(b *bench, name string, env *harness.Env) *rig {
	r := &rig{name: name, m: env.Mount(b)}
	for i := range writers {
		dir := r.m.Path(fmt.Sprint("writer", i))
		b.must(os.Mkdir(dir, 0o755))
		r.dirs = append(r.dirs, dir)
	}
	env.Quiesce(b)
	env.Proxy.SetLatency(latency)
	return r
}

// save saves one new file and returns how long that took.
func (r *rig) save(dir string, n int) (time.Duration, error) {
	begin := time.Now()
	err := saveFile(filepath.Join(dir, fmt.Sprint("f", n)), smallBody)
	return time.Since(begin), err
}

// rate returns the files a second that n writers reach together, each in a
// directory of its own.
func (r *rig) rate(b *bench, n, each int) float64 {
	first := r.next
	r.next += each
	var wg sync.WaitGroup
	begin := time.Now()
	for w := range n {
		wg.Go(func() {
			for i := range each {
				if _, err := r.save(r.dirs[w], first+i); err != nil {
					b.Errorf("save: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(n*each) / time.Since(begin).Seconds()
}

// barePut is one PUT of the SDK, which is the least that a save can cost.
func barePut(b *bench, client *s3.Client, bucket string, n int) time.Duration {
	begin := time.Now()
	_, err := client.PutObject(b.Context(), &s3.PutObjectInput{
		Bucket: &bucket, Key: aws.String(fmt.Sprint("bare/f", n)), Body: bytes.NewReader(smallBody),
	})
	b.must(err)
	return time.Since(begin)
}

// fullBucket is a bucket with many objects in one namespace, made at its first
// use and then shared.
var fullBucket *harness.Env

// seededKey names the objects of the full namespace: 50 in a directory.
func seededKey(i int) string {
	return fmt.Sprintf("team/data/@seed/m%03d/d%d/r%06d", i/500, i/50%10, i)
}

// fullNamespace is that bucket through a proxy of the section's own.
func fullNamespace(b *bench) *harness.Env {
	if fullBucket == nil {
		env := harness.New(b, harness.Versity)
		begin := time.Now()
		env.Seed(b, b.objects, seededKey)
		b.Logf("seeded %d objects in %v", b.objects, time.Since(begin).Round(time.Second))
		fullBucket = env
	}
	return fullBucket.Peer(b)
}

// commitsSection measures how long a save takes, and how many can be made at
// once, in an empty bucket and in a full one, in turns.
func commitsSection(b *bench) {
	empty := harness.New(b, harness.Versity)
	rigs := []*rig{newRig(b, "empty bucket", empty), newRig(b, fmt.Sprintf("beside %d objects", b.objects), fullNamespace(b))}
	client := empty.Server.Client(empty.Proxy.URL())
	var bare []time.Duration
	serial, each := 40, 30
	if b.quick {
		serial, each = 15, 5
	}
	for round := range b.rounds + 1 {
		for i := range serial {
			bare = append(bare, barePut(b, client, empty.Bucket, round*serial+i))
			for _, r := range rigs {
				took, err := r.save(r.dirs[0], r.next)
				b.must(err)
				r.next++
				r.saves = append(r.saves, took)
			}
		}
		for i := range rigs { // neither is always the first
			r := rigs[(i+round)%len(rigs)]
			r.one = append(r.one, r.rate(b, 1, serial))
			r.all = append(r.all, r.rate(b, writers, each))
		}
		if round == 0 { // connections and caches are warm now
			bare = nil
			for _, r := range rigs {
				r.saves, r.one, r.all = nil, nil, nil
			}
		}
	}
	reportCommits(b, median(bare), rigs)
}

func reportCommits(b *bench, bare time.Duration, rigs []*rig) {
	b.page.text("## Saving small files at 15 ms\n\nFiles of 2.5 KiB, written under a temporary name and renamed. One writer, and %d in as many directories. The SDK's bare PUT and both buckets in turns; medians.\n", writers)
	rows := [][]string{{"bare PUT of the SDK", ms(bare), "", ""}}
	for _, r := range rigs {
		save, one, all := median(r.saves), median(r.one), median(r.all)
		rows = append(rows, []string{"save, " + r.name, ms(save), fmt.Sprintf("%.0f/s", one), fmt.Sprintf("%.0f/s", all)})
		b.page.claim("median save, "+r.name, times(float64(save)/float64(bare))+" a bare PUT", "1.30 ×", float64(save) <= 1.3*float64(bare))
		b.page.claim(fmt.Sprintf("rate of %d writers, %s", writers, r.name), times(all/one)+" that of one", "at least 20 ×", all >= 20*one)
	}
	b.page.table([]string{"", "median", "1 writer", fmt.Sprint(writers, " writers")}, rows)
	differ := func(what string, ratio float64) {
		d := 100 * (ratio - 1)
		b.page.claim(fmt.Sprintf("%s beside %d objects and in an empty bucket", what, b.objects), fmt.Sprintf("%+.1f %%", d), "± 10 %", d > -10 && d < 10)
	}
	differ("median save", float64(median(rigs[1].saves))/float64(median(rigs[0].saves)))
	var ratios []float64 // by round, since the machine's speed changes between them
	for round := range rigs[0].all {
		ratios = append(ratios, rigs[1].all[round]/rigs[0].all[round])
	}
	differ(fmt.Sprintf("rate of %d writers", writers), median(ratios))
}
