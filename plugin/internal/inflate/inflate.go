package inflate

import "encoding/binary"

// Of RFC 1951 section 3.2.
const (
	maxCodeBits = 15
	endOfBlock  = 256
	maxLiterals = 286
	maxOffsets  = 30
)

// lengths and offsets have what a symbol stands for: its least value and how many
// bits are added (section 3.2.5).
var (
	lengthBase = [29]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthBits = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	offsetBase = [maxOffsets]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	offsetBits = [maxOffsets]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}

	// codeOrder is the order of the lengths of the codes for lengths (section 3.2.7).
	codeOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
)

// decoder decodes into the room that out has.
type decoder struct {
	in    []byte
	at    int
	bits  uint64 // that are next; the first is the lowest
	count uint   // how many they are
	out   []byte

	literals, offsets code
	lengths           [maxLiterals + maxOffsets]uint8
}

// run decodes all blocks.
func (d *decoder) run() bool {
	for final := false; !final; {
		head, ok := d.take(3)
		if !ok {
			return false
		}
		final = head&1 != 0
		switch head >> 1 {
		case 0:
			ok = d.stored()
		case 1:
			ok = d.fixed() && d.compressed()
		case 2:
			ok = d.dynamic() && d.compressed()
		default:
			ok = false
		}
		if !ok {
			return false
		}
	}
	return true
}

// unread is how many whole bytes are left.
func (d *decoder) unread() int { return len(d.in) - d.at + int(d.count/8) }

// fill makes at least 48 bits be there, or all that are left.
func (d *decoder) fill() {
	if len(d.in)-d.at >= 8 {
		d.bits |= binary.LittleEndian.Uint64(d.in[d.at:]) << d.count
		n := (63 - d.count) / 8
		d.at += int(n)
		d.count += n * 8
		d.bits &= 1<<d.count - 1
		return
	}
	for d.count <= 56 && d.at < len(d.in) {
		d.bits |= uint64(d.in[d.at]) << d.count
		d.at++
		d.count += 8
	}
}

// take takes n bits, at most 16.
func (d *decoder) take(n uint) (uint, bool) {
	if d.count < n {
		if d.fill(); d.count < n {
			return 0, false
		}
	}
	v := uint(d.bits & (1<<n - 1))
	d.bits >>= n
	d.count -= n
	return v, true
}

// stored copies a block that is not compressed (section 3.2.4).
func (d *decoder) stored() bool {
	d.bits >>= d.count & 7
	d.count &^= 7
	n, ok1 := d.take(16)
	inverse, ok2 := d.take(16)
	if !ok1 || !ok2 || n^inverse != 0xFFFF {
		return false
	}
	d.at -= int(d.count / 8) // what was read ahead
	d.bits, d.count = 0, 0
	if int(n) > len(d.in)-d.at || int(n) > cap(d.out)-len(d.out) {
		return false
	}
	d.out = append(d.out, d.in[d.at:d.at+int(n)]...)
	d.at += int(n)
	return true
}

// fixed makes the codes of section 3.2.6.
func (d *decoder) fixed() bool {
	var lengths [288]uint8
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	var offsets [32]uint8
	for i := range offsets {
		offsets[i] = 5
	}
	return d.literals.make(lengths[:]) && d.offsets.make(offsets[:])
}

// dynamic reads the codes of a block (section 3.2.7).
func (d *decoder) dynamic() bool {
	literals, ok1 := d.take(5)
	offsets, ok2 := d.take(5)
	codes, ok3 := d.take(4)
	literals, offsets, codes = literals+257, offsets+1, codes+4
	if !ok1 || !ok2 || !ok3 || literals > maxLiterals || offsets > maxOffsets {
		return false
	}
	var lengths [19]uint8
	for i := range codes {
		n, ok := d.take(3)
		if !ok {
			return false
		}
		lengths[codeOrder[i]] = uint8(n)
	}
	all := d.lengths[:literals+offsets]
	return d.literals.make(lengths[:]) && d.readLengths(all) &&
		d.literals.make(all[:literals]) && d.offsets.make(all[literals:])
}

// readLengths reads lengths of codes, by the code in literals.
func (d *decoder) readLengths(all []uint8) bool {
	for i := 0; i < len(all); {
		symbol, ok := d.symbol(&d.literals)
		if !ok {
			return false
		}
		if symbol < 16 {
			all[i] = uint8(symbol)
			i++
			continue
		}
		width, least, value := [3]uint{2, 3, 7}[symbol-16], [3]uint{3, 3, 11}[symbol-16], uint8(0)
		if symbol == 16 {
			if i == 0 {
				return false
			}
			value = all[i-1]
		}
		more, ok := d.take(width)
		times := int(least + more)
		if !ok || times > len(all)-i {
			return false
		}
		for range times {
			all[i] = value
			i++
		}
	}
	return true
}

// compressed decodes the rest of a block.
func (d *decoder) compressed() bool {
	for {
		symbol, ok := d.symbol(&d.literals)
		switch {
		case !ok || symbol > endOfBlock+len(lengthBase):
			return false
		case symbol == endOfBlock:
			return true
		case symbol > endOfBlock:
			if !d.repeat(symbol - endOfBlock - 1) {
				return false
			}
		case len(d.out) == cap(d.out):
			return false
		default:
			d.out = append(d.out, byte(symbol))
		}
	}
}

// repeat copies something that is there already, for a symbol of its length.
func (d *decoder) repeat(symbol int) bool {
	more, ok := d.take(uint(lengthBits[symbol]))
	if !ok {
		return false
	}
	n := int(lengthBase[symbol]) + int(more)
	symbol, ok = d.symbol(&d.offsets)
	if !ok || symbol >= maxOffsets {
		return false
	}
	more, ok = d.take(uint(offsetBits[symbol]))
	back := int(offsetBase[symbol]) + int(more)
	if !ok || back > len(d.out) || n > cap(d.out)-len(d.out) {
		return false
	}
	from, to := len(d.out)-back, len(d.out)
	d.out = d.out[:to+n]
	for n > 0 { // what is copied may begin with what is copied
		copied := copy(d.out[to:to+n], d.out[from:to])
		to, n = to+copied, n-copied
	}
	return true
}
