"""Rays against CLEVR's three shapes: sphere, bevelled cube and bevelled cylinder.

An object is one row of a float64 array [n, GEOMETRY]: shape, centre x y z, radius (= half side =
half height), cosine and sine of its rotation, squared bounding radius. Vectors are tuples of three
floats; directions have length one, so that a ray's parameter is a distance. Which objects a ray is
tested against is a mask: bit i stands for object i. Every shape is convex: a ray that leaves an
object never meets it again, so its bit is taken out.
"""

import math

from clevr_prep.synthetic.render.kernels import kernel

CUBE, SPHERE, CYLINDER = 0, 1, 2
GEOMETRY = 8
GROUND, SKY = -1, -2
FAR = 1e9
# Radius of the rounded edges as a share of the object's radius, measured on CLEVR's images.
CUBE_BEVEL = 0.19
CYLINDER_BEVEL = 0.05


@kernel
def dot(a, b):
    """Scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel
def subtract(a, b):
    """a - b."""
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@kernel
def advance(origin, t, direction):
    """The point at distance t along a ray."""
    return (
        origin[0] + t * direction[0],
        origin[1] + t * direction[1],
        origin[2] + t * direction[2],
    )


@kernel
def unit(a):
    """a at length one."""
    scale = 1.0 / math.sqrt(max(dot(a, a), 1e-18))
    return a[0] * scale, a[1] * scale, a[2] * scale


@kernel
def reflect(direction, facing):
    """A direction after a perfect mirror with unit normal `facing`."""
    return advance(direction, -2.0 * dot(direction, facing), facing)


@kernel
def centre(geometry, i):
    """Centre of object i."""
    return geometry[i, 1], geometry[i, 2], geometry[i, 3]


@kernel
def _local(geometry, i, a):
    """A vector of the world in the object's frame (rotation only)."""
    c, s = geometry[i, 5], geometry[i, 6]
    return c * a[0] + s * a[1], c * a[1] - s * a[0], a[2]


@kernel
def _cube_span(p, d, half):
    """Entry and exit of a ray through the sharp-edged cube (entry > exit: missed)."""
    ix, iy, iz = 1.0 / d[0], 1.0 / d[1], 1.0 / d[2]
    ax, ay, az = abs(ix) * half, abs(iy) * half, abs(iz) * half
    bx, by, bz = -p[0] * ix, -p[1] * iy, -p[2] * iz
    return max(bx - ax, by - ay, bz - az), min(bx + ax, by + ay, bz + az)


@kernel
def _cylinder_span(p, d, radius):
    """Entry and exit of a ray through the sharp-edged upright cylinder of equal half height."""
    a = max(d[0] * d[0] + d[1] * d[1], 1e-12)
    b = p[0] * d[0] + p[1] * d[1]
    disc = b * b - a * (p[0] * p[0] + p[1] * p[1] - radius * radius)
    if disc < 0.0:
        return 1.0, 0.0
    root = math.sqrt(disc)
    iz = 1.0 / d[2]
    az, bz = abs(iz) * radius, -p[2] * iz
    return max((-b - root) / a, bz - az), min((-b + root) / a, bz + az)


@kernel
def _rounded_distance(shape, p, core, bevel):
    """Signed distance to the rounded cube or cylinder whose flat parts reach `core`."""
    qz = abs(p[2]) - core
    if shape == CUBE:
        qx, qy = abs(p[0]) - core, abs(p[1]) - core
    else:
        qx, qy = math.sqrt(p[0] * p[0] + p[1] * p[1]) - core, -1.0
    ox, oy, oz = max(qx, 0.0), max(qy, 0.0), max(qz, 0.0)
    return math.sqrt(ox * ox + oy * oy + oz * oz) + min(max(qx, qy, qz), 0.0) - bevel


@kernel
def _meet(geometry, i, p, d, along, miss2):
    """Distance to object i's surface, FAR if missed; p is the ray's origin seen from its centre.

    `along` is the distance to the ray's point closest to the centre and `miss2` the squared
    distance there, which the caller has from the test of the bounding sphere.
    """
    radius = geometry[i, 4]
    shape = int(geometry[i, 0])
    if shape == SPHERE:
        return along - math.sqrt(radius * radius - miss2)
    p, d = _local(geometry, i, p), _local(geometry, i, d)
    if shape == CUBE:
        near, far = _cube_span(p, d, radius)
        bevel = radius * CUBE_BEVEL
    else:
        near, far = _cylinder_span(p, d, radius)
        bevel = radius * CYLINDER_BEVEL
    if near > far or far < 0.0:
        return FAR
    core = radius - bevel
    t = max(near, 0.0)
    q = advance(p, t, d)
    if shape == CUBE:
        flat = (abs(q[0]) < core) + (abs(q[1]) < core) + (abs(q[2]) < core) >= 2
    else:
        flat = abs(q[2]) < core or q[0] * q[0] + q[1] * q[1] < core * core
    if flat:
        return t
    step = 0.0
    for _ in range(16):
        step = _rounded_distance(shape, advance(p, t, d), core, bevel)
        t += step
        if step < 0.003 * radius:
            return t
        if t > far:
            return FAR
    # Steps shrink on rays that graze an edge; one that has come this close counts as a hit.
    return t if step < 0.02 * radius else FAR


@kernel
def nearest(geometry, mask, origin, direction):
    """First of the masked objects on a ray: (distance, index), or (FAR, SKY)."""
    best, which, i = FAR, SKY, 0
    while mask > 0:
        if mask & 1:
            p = subtract(origin, centre(geometry, i))
            along = -dot(p, direction)
            miss2 = dot(p, p) - along * along
            if along > 0.0 and miss2 < geometry[i, 7]:
                t = _meet(geometry, i, p, direction, along, miss2)
                if t < best:
                    best, which = t, i
        mask >>= 1
        i += 1
    return best, which


@kernel
def blocked(geometry, mask, origin, direction, reach):
    """Whether one of the masked objects lies on a ray within `reach`."""
    i = 0
    while mask > 0:
        if mask & 1:
            p = subtract(origin, centre(geometry, i))
            along = -dot(p, direction)
            miss2 = dot(p, p) - along * along
            if (
                along > 0.0
                and miss2 < geometry[i, 7]
                and _meet(geometry, i, p, direction, along, miss2) < reach
            ):
                return True
        mask >>= 1
        i += 1
    return False


@kernel
def normal(geometry, i, point):
    """Outward unit normal of object i at a point of its surface."""
    p = subtract(point, centre(geometry, i))
    radius = geometry[i, 4]
    shape = int(geometry[i, 0])
    if shape == SPHERE:
        return unit(p)
    x, y, z = _local(geometry, i, p)
    if shape == CUBE:
        core = radius * (1.0 - CUBE_BEVEL)
        x = math.copysign(max(abs(x) - core, 0.0), x)
        y = math.copysign(max(abs(y) - core, 0.0), y)
    else:
        core = radius * (1.0 - CYLINDER_BEVEL)
        across = math.sqrt(x * x + y * y)
        share = max(across - core, 0.0) / max(across, 1e-9)
        x, y = x * share, y * share
    z = math.copysign(max(abs(z) - core, 0.0), z)
    c, s = geometry[i, 5], geometry[i, 6]
    return unit((c * x - s * y, s * x + c * y, z))
