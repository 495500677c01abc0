package fuse

import (
	"sync"
	"sync/atomic"
)

// The parts of a handle number: the shard, the slot in it, and how often the
// slot was used, so that a number is not valid again after its release.
const (
	shardBits = 4
	slotBits  = 28
	shards    = 1 << shardBits
)

// table gives numbers to open files. The kernel shows the number with each
// request; it is never 0. Sharded, because every read and write looks one up.
type table[T any] struct {
	shards [shards]shard[T]
	turn   atomic.Uint64 // spreads the handles over the shards
}

type shard[T any] struct {
	mu    sync.RWMutex
	slots []slot[T]
	free  []uint32 // indexes of slots that are not used
}

type slot[T any] struct {
	value *T     // nil while the slot is free
	uses  uint32 // counts how often the slot was taken; starts at 1
}

// put stores v and returns its number.
func (t *table[T]) put(v *T) uint64 {
	n := t.turn.Add(1) % shards
	s := &t.shards[n]
	s.mu.Lock()
	defer s.mu.Unlock()
	var i uint32
	if last := len(s.free) - 1; last >= 0 {
		i, s.free = s.free[last], s.free[:last]
	} else {
		i = uint32(len(s.slots))
		s.slots = append(s.slots, slot[T]{})
	}
	s.slots[i].value = v
	s.slots[i].uses++
	return uint64(s.slots[i].uses)<<(shardBits+slotBits) | uint64(i)<<shardBits | n
}

// get returns what put stored under fh, nil if it was taken out.
func (t *table[T]) get(fh uint64) *T {
	s := &t.shards[fh%shards]
	s.mu.RLock()
	defer s.mu.RUnlock()
	if slot := s.find(fh); slot != nil {
		return slot.value
	}
	return nil
}

// take removes fh and returns what was stored; nil if it was taken before.
func (t *table[T]) take(fh uint64) *T {
	s := &t.shards[fh%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	slot := s.find(fh)
	if slot == nil {
		return nil
	}
	v := slot.value
	slot.value = nil
	s.free = append(s.free, slotOf(fh))
	return v
}

// takeAll empties the table and returns what was in it.
func (t *table[T]) takeAll() []*T {
	var all []*T
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for j := range s.slots {
			if v := s.slots[j].value; v != nil {
				all = append(all, v)
				s.slots[j].value = nil
				s.free = append(s.free, uint32(j))
			}
		}
		s.mu.Unlock()
	}
	return all
}

func slotOf(fh uint64) uint32 { return uint32(fh>>shardBits) & (1<<slotBits - 1) }

// find returns the slot of fh if it is in use. s.mu is held.
func (s *shard[T]) find(fh uint64) *slot[T] {
	i := slotOf(fh)
	if int(i) >= len(s.slots) {
		return nil
	}
	slot := &s.slots[i]
	if slot.value == nil || uint64(slot.uses) != fh>>(shardBits+slotBits) {
		return nil
	}
	return slot
}
