"""Rays against CLEVR's three shapes: sphere, bevelled cube and bevelled cylinder.

An object is one row of a float64 array [n, GEOMETRY]: shape, centre x y z, radius (= half side =
half height), cosine and sine of its rotation, squared bounding radius. Directions have length one,
so that a ray's parameter is a distance. Every shape is convex: a ray that leaves an object never
meets it again, which is why the tests below take the object to `skip`.
"""

import math

from .kernels import kernel

CUBE, SPHERE, CYLINDER = 0, 1, 2
GEOMETRY = 8
GROUND, SKY = -1, -2
FAR = 1e9
# Radius of the rounded edges as a share of the object's radius, measured on CLEVR's images.
CUBE_BEVEL = 0.2
CYLINDER_BEVEL = 0.05


@kernel
def _cube_span(x, y, z, dx, dy, dz, half):
    """Entry and exit of a ray through the sharp-edged cube (entry > exit: missed)."""
    ix, iy, iz = 1.0 / dx, 1.0 / dy, 1.0 / dz
    ax, ay, az = abs(ix) * half, abs(iy) * half, abs(iz) * half
    bx, by, bz = -x * ix, -y * iy, -z * iz
    near = max(bx - ax, by - ay, bz - az)
    far = min(bx + ax, by + ay, bz + az)
    return near, far


@kernel
def _cylinder_span(x, y, z, dx, dy, dz, radius):
    """Entry and exit of a ray through the sharp-edged upright cylinder of equal radius."""
    a = dx * dx + dy * dy
    b = x * dx + y * dy
    disc = b * b - a * (x * x + y * y - radius * radius)
    if disc < 0.0:
        return 1.0, 0.0
    root = math.sqrt(disc)
    iz = 1.0 / dz
    az, bz = abs(iz) * radius, -z * iz
    ia = 1.0 / max(a, 1e-12)
    return max((-b - root) * ia, bz - az), min((-b + root) * ia, bz + az)


@kernel
def _rounded_distance(shape, x, y, z, core, bevel):
    """Signed distance to the rounded cube or cylinder whose flat parts reach `core`."""
    if shape == CUBE:
        qx, qy, qz = abs(x) - core, abs(y) - core, abs(z) - core
        ox, oy, oz = max(qx, 0.0), max(qy, 0.0), max(qz, 0.0)
        return math.sqrt(ox * ox + oy * oy + oz * oz) + min(max(qx, qy, qz), 0.0) - bevel
    qr, qz = math.sqrt(x * x + y * y) - core, abs(z) - core
    outer, oz = max(qr, 0.0), max(qz, 0.0)
    return math.sqrt(outer * outer + oz * oz) + min(max(qr, qz), 0.0) - bevel


@kernel
def _local(geometry, i, x, y, z):
    """Turn a vector of the world into the object's frame (rotation only)."""
    c, s = geometry[i, 5], geometry[i, 6]
    return c * x + s * y, c * y - s * x, z


@kernel
def _meet(geometry, i, x, y, z, dx, dy, dz, along, miss2):
    """Distance to object i's surface, FAR if missed; x y z is the ray's origin from its centre.

    `along` is the distance to the point closest to the centre and `miss2` the squared distance
    there, which the caller has for the test of the bounding sphere.
    """
    radius = geometry[i, 4]
    shape = int(geometry[i, 0])
    if shape == SPHERE:
        return along - math.sqrt(radius * radius - miss2)
    x, y, z = _local(geometry, i, x, y, z)
    dx, dy, dz = _local(geometry, i, dx, dy, dz)
    if shape == CUBE:
        near, far = _cube_span(x, y, z, dx, dy, dz, radius)
        bevel = radius * CUBE_BEVEL
    else:
        near, far = _cylinder_span(x, y, z, dx, dy, dz, radius)
        bevel = radius * CYLINDER_BEVEL
    if near > far or far < 0.0:
        return FAR
    core = radius - bevel
    t = max(near, 0.0)
    px, py, pz = x + t * dx, y + t * dy, z + t * dz
    if shape == CUBE:
        flat = (abs(px) < core) + (abs(py) < core) + (abs(pz) < core) >= 2
    else:
        flat = abs(pz) < core or px * px + py * py < core * core
    if flat:
        return t
    step = 0.0
    for _ in range(16):
        step = _rounded_distance(shape, x + t * dx, y + t * dy, z + t * dz, core, bevel)
        t += step
        if step < 0.003 * radius:
            return t
        if t > far:
            return FAR
    # Steps shrink on rays that graze an edge; one that has come this close counts as a hit.
    return t if step < 0.02 * radius else FAR


@kernel
def nearest(geometry, chosen, count, skip, ox, oy, oz, dx, dy, dz):
    """First thing on a ray: (distance, object index, GROUND or SKY).

    Only the objects chosen[:count] are looked at, without object `skip`.
    """
    best, which = FAR, SKY
    if dz < 0.0 and skip != GROUND:
        best, which = -oz / dz, GROUND
    for k in range(count):
        i = chosen[k]
        if i == skip:
            continue
        x, y, z = ox - geometry[i, 1], oy - geometry[i, 2], oz - geometry[i, 3]
        along = -(x * dx + y * dy + z * dz)
        miss2 = x * x + y * y + z * z - along * along
        if along <= 0.0 or miss2 >= geometry[i, 7]:
            continue
        t = _meet(geometry, i, x, y, z, dx, dy, dz, along, miss2)
        if t < best:
            best, which = t, i
    return best, which


@kernel
def blocked(geometry, chosen, count, skip, ox, oy, oz, dx, dy, dz, reach):
    """Whether any of the objects chosen[:count] but `skip` lies on a ray within `reach`."""
    for k in range(count):
        i = chosen[k]
        x, y, z = ox - geometry[i, 1], oy - geometry[i, 2], oz - geometry[i, 3]
        along = -(x * dx + y * dy + z * dz)
        miss2 = x * x + y * y + z * z - along * along
        if along <= 0.0 or miss2 >= geometry[i, 7] or i == skip or along > reach + 1.3:
            continue
        if _meet(geometry, i, x, y, z, dx, dy, dz, along, miss2) < reach:
            return True
    return False


@kernel
def normal(geometry, i, px, py, pz):
    """Outward unit normal of object i at a point of its surface."""
    x, y, z = px - geometry[i, 1], py - geometry[i, 2], pz - geometry[i, 3]
    radius = geometry[i, 4]
    shape = int(geometry[i, 0])
    if shape != SPHERE:
        x, y, z = _local(geometry, i, x, y, z)
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
        x, y = c * x - s * y, s * x + c * y
    scale = 1.0 / math.sqrt(max(x * x + y * y + z * z, 1e-18))
    return x * scale, y * scale, z * scale
