package wasmhost

func proxyGetSharedData(in *Instance, p params) Status {
	key, ok := in.text(p.u32(0), p.u32(1))
	if !ok || !in.writable(p.u32(4), 4) {
		return StatusInvalidMemoryAccess
	}
	v, ok := in.module.rt.shared.value(key)
	if !ok {
		return StatusNotFound
	}
	if status := in.storeText(v.value, p.u32(2), p.u32(3)); status != StatusOK {
		return status
	}
	return in.putUint32(p.u32(4), v.cas)
}

func proxySetSharedData(in *Instance, p params) Status {
	key, ok1 := in.text(p.u32(0), p.u32(1))
	value, ok2 := in.text(p.u32(2), p.u32(3))
	if !ok1 || !ok2 {
		return StatusInvalidMemoryAccess
	}
	return in.module.rt.shared.set(key, value, p.u32(4))
}

func proxyRegisterSharedQueue(in *Instance, p params) Status {
	name, ok := in.text(p.u32(0), p.u32(1))
	if !ok || !in.writable(p.u32(2), 4) {
		return StatusInvalidMemoryAccess
	}
	return in.putUint32(p.u32(2), in.module.rt.shared.register(name))
}

// proxyResolveSharedQueue finds a queue of this Runtime, whatever the vm_id: all
// VMs here have one.
func proxyResolveSharedQueue(in *Instance, p params) Status {
	_, ok1 := in.text(p.u32(0), p.u32(1))
	name, ok2 := in.text(p.u32(2), p.u32(3))
	if !ok1 || !ok2 {
		return StatusInvalidMemoryAccess
	}
	token, ok := in.module.rt.shared.resolve(name)
	if !ok {
		return StatusNotFound
	}
	return in.putUint32(p.u32(4), token)
}

func proxyDequeueSharedQueue(in *Instance, p params) Status {
	if !in.writable(p.u32(1), 4) || !in.writable(p.u32(2), 4) {
		return StatusInvalidMemoryAccess
	}
	value, status := in.module.rt.shared.dequeue(p.u32(0))
	if status != StatusOK {
		return status
	}
	return in.storeText(value, p.u32(1), p.u32(2))
}

// proxyEnqueueSharedQueue stores the value; proxy_on_queue_ready is not called.
func proxyEnqueueSharedQueue(in *Instance, p params) Status {
	value, ok := in.text(p.u32(1), p.u32(2))
	if !ok {
		return StatusInvalidMemoryAccess
	}
	return in.module.rt.shared.enqueue(p.u32(0), value)
}

func proxyDefineMetric(in *Instance, p params) Status {
	name, ok := in.text(p.u32(1), p.u32(2))
	if !ok || !in.writable(p.u32(3), 4) {
		return StatusInvalidMemoryAccess
	}
	id, status := in.module.rt.metrics.define(MetricType(p.u32(0)), name)
	if status != StatusOK {
		return status
	}
	return in.putUint32(p.u32(3), id)
}

func proxyIncrementMetric(in *Instance, p params) Status {
	return in.module.rt.metrics.increment(p.u32(0), int64(p[1]))
}

func proxyRecordMetric(in *Instance, p params) Status {
	return in.module.rt.metrics.record(p.u32(0), p[1])
}

func proxyGetMetric(in *Instance, p params) Status {
	value, status := in.module.rt.metrics.value(p.u32(0))
	if status != StatusOK {
		return status
	}
	return in.putUint64(p.u32(1), value)
}
